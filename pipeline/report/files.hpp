// The report as files, for people and their programs:
//
//   run-N.json  run-N.txt  run-N.html  run-N-accounts.csv  run-N-mailboxes.csv  run-N-messages.csv
//   run-N-differences.csv notes/ADDRESS.txt  notes/ADDRESS.html
//
// Copies: the report itself is in the state. Each but the notes appears whole or not at all under its name.
#pragma once

#include <boost/json/object.hpp>
#include <set>
#include <string>
#include <vector>

#include "state/db.hpp"

namespace pipeline {

struct VerifyResult;

struct ReportSource {
  const boost::json::object& report;
  std::string file;                        // run-N.json, see seal()
  state::Db* ledger = nullptr;             // as it was when the report was made; else only what the report lists
  const VerifyResult* verified = nullptr;  // what it was made from
};

// `formats`: "text", "json", "html", "csv", "notes". Returns a sentence for each file that could not be written.
std::vector<std::string> write_report(const std::string& folder, const ReportSource& from,
                                      const std::set<std::string>& formats);

}  // namespace pipeline
