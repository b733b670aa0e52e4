// What every page of ours has: one style for light, dark and paper, and a small script that may be missing.
#pragma once

#include <string>

namespace pipeline {

// From <!doctype> to <body>; `title` is text, not markup. Whatever a page then holds, no browser loads or runs anything
// else: a Content-Security-Policy allows this style and this script alone.
std::string page_begin(const std::string& title);
// Filters table rows; `</body></html>`.
std::string page_end();

}  // namespace pipeline
