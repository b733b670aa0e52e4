// What came of it: the verdict in one sentence, closed books, everything that is not on the target as it was at the
// source. One object, made from the ledger; everything that people read is written from it (files.hpp).
#pragma once

#include <boost/json.hpp>
#include <string>

#include "pipeline/migration.hpp"

namespace pipeline {

struct Verdict {
  base::Exit exit = base::Exit::done;
  std::string sentence;
};

// A report lists at most so many messages that are not on the target, so many that are there with a remark, so many
// differences, events, second copies; and gives the number of all. messages.csv and differences.csv have every one.
inline constexpr std::size_t kListed = 10'000, kListedOfAccount = 500;

// From the ledger, plus what verification found. Store's thread only (or before and after the event loop). Memory by
// accounts and mailboxes, never by messages.
boost::json::object make_report(state::Db& db, const VerifyResult& verified, const state::RunRow& run,
                                const std::function<bool(const std::string&)>& selected, bool interrupted);
Verdict verdict_of(const boost::json::object& report);

// The file run-N.json, with its fingerprint: SHA-256 of that file with 64 zeros in the place of "fingerprint".
std::string seal(boost::json::object* report);
// The file has the fingerprint that it says.
bool sealed(std::string file);

// Of reports of any version. Everything in them that servers and mail said is harmless in what comes out.
std::string report_text(const boost::json::object& report);
// Of "messages" and of "differences", one in a line.
std::string message_line(const boost::json::object& message);
std::string difference_line(const boost::json::object& difference);
// One page that needs nothing but itself: no script to be read, printable.
std::string report_html(const boost::json::object& report);

}  // namespace pipeline
