# frozen_string_literal: true

module Lineside
  # Kinds of records, in user ids and channel names: `admin` for Admin, `admin/user` for Admin::User. Two classes never
  # have the same kind: a class whose name cannot be restored from such a word, like APIKey, keeps its name as the kind.
  module Kind
    # Words that have one capital letter each, at the beginning.
    WORDS = /(?:[A-Z][a-z0-9]+)+/
    RESTORABLE = /\A#{WORDS}(?:::#{WORDS})*\z/
    CLASS_NAME = /\A[A-Z]\w*(?:::[A-Z]\w*)*\z/
    private_constant :WORDS, :RESTORABLE, :CLASS_NAME

    module_function

    # @param class_name [String]
    # @return [String] without a hyphen
    def of(class_name)
      return class_name unless class_name.match?(RESTORABLE)

      class_name.gsub("::", "/").gsub(/(?<=[a-z0-9])(?=[A-Z])/, "_").downcase
    end

    # Name of the class of a record. A wrapper, such as a SimpleDelegator or a form object, has the class of its model.
    #
    # @return [String, nil] nil if the object is not a record
    def class_name(object)
      object = object.to_model if object.respond_to?(:to_model)
      base_name(object.class.model_name.name) if object.class.respond_to?(:model_name)
    end

    # Name of the base class of a named class, because classes of one table share its ids.
    #
    # @return [String] the name itself if there is no such class
    def base_name(class_name)
      found = find(class_name)
      found.respond_to?(:base_class) ? found.base_class.name : class_name
    end

    # @param kind [String]
    # @return [String, nil] name of the class of records that has this kind
    def restore(kind)
      class_name = kind.split("/").map { |part| part.split("_").map { |word| capitalize(word) }.join }.join("::")
      class_name if of(class_name) == kind && find(class_name).respond_to?(:model_name)
    end

    # Unlike String#capitalize, changes only the first letter.
    def capitalize(word) = word.sub(/\A./, &:upcase)

    def find(class_name)
      Object.const_get(class_name) if class_name.match?(CLASS_NAME) && Object.const_defined?(class_name)
    end

    private_class_method :capitalize, :find
  end
end
