// JavaScript of a page with Turbo whose resumes are exact. An app needs only the two lines in the middle.
import "/network.js";
import "@hotwired/turbo-rails";
import "lineside/turbo";
import "/hotwire.js";
