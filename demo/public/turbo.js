// JavaScript of a page with Turbo whose resumes are exact. An app has the two lines in the middle.
import "/network.js";
import "@hotwired/turbo-rails";
import "lineside/turbo";
import "/hotwire.js";
