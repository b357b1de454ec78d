// JavaScript of a page with Turbo's stock client. An app needs only the line in the middle.
import "/network.js";
import "@hotwired/turbo-rails";
import "/hotwire.js";
