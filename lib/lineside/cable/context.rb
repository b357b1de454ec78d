# frozen_string_literal: true

require "json"
require "stringio"
require_relative "connection"
require_relative "value"

module Lineside
  module Cable
    # Text from which another process rebuilds a connection after `connect` has run: what it is identified by, and the
    # part of the request that channels can read. The sidecar keeps the text and does not read it.
    #
    # Records travel by their global id. Instance variables other than the identifiers, and Rails' session, do not
    # travel.
    module Context
      # Maximum size of the text in the frame, in bytes. Long header fields are left out first.
      BYTES_MAX = 32 * 1024

      # The context cannot be written, or a record in it no longer exists.
      class Invalid < Error; end

      # Keys of the Rack environment, beside header fields.
      KEYS = %w[REQUEST_METHOD SCRIPT_NAME PATH_INFO QUERY_STRING SERVER_NAME SERVER_PORT REMOTE_ADDR HTTPS
                ORIGINAL_FULLPATH ORIGINAL_SCRIPT_NAME rack.url_scheme action_dispatch.request_id].freeze

      HEADER = /\AHTTP_/

      # Header fields of the upgrade alone.
      UPGRADE = %w[HTTP_UPGRADE HTTP_CONNECTION HTTP_SEC_WEBSOCKET_KEY HTTP_SEC_WEBSOCKET_VERSION
                   HTTP_SEC_WEBSOCKET_EXTENSIONS].freeze

      REMOTE_IP = "action_dispatch.remote_ip"
      PATH_PARAMETERS = "action_dispatch.request.path_parameters"

      class << self
        # @param identified [Hash{Symbol => Object}] {Connection.identified}
        # @param env [Hash] Rack environment
        # @return [String] JSON
        # @raise [Invalid] if the identifiers and the URL alone are too long
        def generate(identified, env)
          parameters = env[PATH_PARAMETERS].to_h.transform_values { |value| text(value.to_s) }
          fit({ identified: identified.compact.transform_values { |value| Value.dump(value) },
                env: strings(env).transform_values { |value| text(value) }, parameters: })
        end

        # Rebuilds the connection. Run it inside the app's executor.
        #
        # @param json [String] from {generate}
        # @param websocket [#transmit, #close, #alive?, #protocol] {Connection.build}
        # @return [ActionCable::Connection::Base] of the app's class, on which `connect` was not run
        # @raise [Invalid] if a record no longer exists
        def connection(json, websocket, server: ActionCable.server)
          context = JSON.parse(json)
          identified = context.fetch("identified").to_h { |name, value| [name.to_sym, Value.load(*value)] }
          Connection.build(server, rack_env(context), identified, websocket)
        end

        private

        def strings(env)
          kept = env.select { |key, value| value.is_a?(String) && (KEYS.include?(key) || key.match?(HEADER)) }
          kept.except(*UPGRADE).merge(remote_ip(env))
        end

        def remote_ip(env)
          # `to_s` is nil if the address is unknown.
          { REMOTE_IP => env[REMOTE_IP]&.to_s }.compact
        rescue ActionDispatch::RemoteIp::IpSpoofAttackError, IPAddr::Error
          {}
        end

        def rack_env(context)
          env = context.fetch("env").transform_values { |value| bytes(value) }
          parameters = context.fetch("parameters").to_h do |name, value|
            [name.to_sym, bytes(value).force_encoding(Encoding::UTF_8)]
          end
          env.merge(PATH_PARAMETERS => parameters, "rack.input" => StringIO.new, "rack.errors" => $stderr)
        end

        # Header fields can contain any bytes.
        def text(value)
          text = value.dup.force_encoding(Encoding::UTF_8)
          text.valid_encoding? ? text : [[text].pack("m0")]
        end

        def bytes(text) = text.is_a?(Array) ? text.first.unpack1("m0") : text.b

        # The size is that in the frame, where the context is a String in JSON.
        def fit(context)
          dropped = []
          until JSON.generate(json = JSON.generate(context)).bytesize <= BYTES_MAX
            dropped << longest_header(context[:env])
            context[:env].delete(dropped.last)
          end
          log(dropped) if dropped.any?
          json
        end

        def longest_header(env)
          env.keys.grep(HEADER).max_by { |key| env[key].to_s.bytesize } or
            raise Invalid, "the identifiers and the URL of a connection of Action Cable take more than #{BYTES_MAX} " \
                           "bytes: identify connections by records or short values"
        end

        def log(dropped)
          return if @logged

          @logged = true
          names = Printable.of(dropped.join(", "))
          Lineside.config.logger.warn("Lineside: the header fields of a connection of Action Cable take more than " \
                                      "#{BYTES_MAX} bytes, so its channels cannot read #{names}")
        end
      end
    end
  end
end
