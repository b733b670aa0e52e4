// The report for spreadsheets: RFC 4180, UTF-8 with a BOM (without it Excel takes it for the system's own code page),
// commas, CRLF. Octets are bare numbers.
#pragma once

#include <boost/json/object.hpp>
#include <ostream>
#include <string>
#include <string_view>

#include "state/db.hpp"

namespace pipeline {

struct VerifyResult;

// One cell. What a spreadsheet would take for a formula (= + - @, also in full width; TAB and CR) gets an apostrophe in
// front; everything that needs it is quoted.
std::string csv_cell(std::string_view text);

void accounts_csv(const boost::json::object& report, std::ostream& out);
void mailboxes_csv(const boost::json::object& report, std::ostream& out);
// Every message that is not on the target as it was at the source: from the ledger, one by one, whatever their number;
// without it (nullptr), those that the report lists.
void messages_csv(const boost::json::object& report, state::Db* ledger, std::ostream& out);
// `verified`: all that it found; without it (nullptr), those that the report lists.
void differences_csv(const boost::json::object& report, const VerifyResult* verified, std::ostream& out);

}  // namespace pipeline
