// What a user is told about his own mail, in words that need no administrator. No server's words, no secret, nobody
// else's name in it.
#pragma once

#include <boost/json/object.hpp>
#include <functional>
#include <string>

namespace pipeline {

struct UserNote {
  std::string address, text, html;
};
// One for each account of the report, one after the other: there may be very many.
void each_note(const boost::json::object& report,
               const std::function<bool(const UserNote&)>& receive);  // false: enough
// A file's name for an address, whatever stands in that.
std::string note_file_name(const std::string& address);

}  // namespace pipeline
