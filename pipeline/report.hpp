// What came of it: the verdict in one sentence, closed books, everything that is not on the target as it was at the
// source.
#pragma once

#include <boost/json.hpp>
#include <string>

#include "pipeline/migration.hpp"

namespace pipeline {

struct Verdict {
  base::Exit exit = base::Exit::done;
  std::string sentence;
};

// From the ledger, plus what verification found. Store's thread only (or before and after the event loop).
boost::json::object make_report(state::Db& db, const VerifyResult& verified, const state::RunRow& run,
                                const std::function<bool(const std::string&)>& selected, bool interrupted);
Verdict verdict_of(const boost::json::object& report);
std::string report_text(const boost::json::object& report);

}  // namespace pipeline
