#include "pipeline/report/notes.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>
#include <map>
#include <vector>

#include "base/fingerprint.hpp"
#include "base/text.hpp"
#include "pipeline/report/fields.hpp"

namespace pipeline {

namespace json = boost::json;

namespace {

constexpr std::size_t kNamed = 25;  // messages, mailboxes

// A note as paragraphs and lists; written as text and as HTML from the same words.
struct Block {
  std::string paragraph;
  std::vector<std::string> items;
};

std::string as_text(const std::string& title, const std::vector<Block>& blocks) {
  std::string out = title + "\r\n\r\n";
  for (const auto& b : blocks) {
    out += b.paragraph + "\r\n";
    for (const auto& i : b.items) out += "  - " + i + "\r\n";
    out += "\r\n";
  }
  return out;
}

// Styles stand at the elements: mail programs drop what is in the head.
std::string as_html(const std::string& title, const std::vector<Block>& blocks) {
  std::string out = fmt::format(
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
      "content=\"width=device-width, initial-scale=1\"><meta http-equiv=\"Content-Security-Policy\" "
      "content=\"default-src "
      "'none'; style-src 'unsafe-inline'\"><title>{0}</title></head>\n<body "
      "style=\"margin:0;padding:24px;background:#f5f6f8;"
      "color:#1c2330;font:16px/1.5 system-ui,sans-serif\">\n<main style=\"max-width:640px;margin:0 auto;padding:24px;"
      "background:#ffffff;border:1px solid #dde1e8;border-radius:8px\">\n<h1 style=\"font-size:22px;margin:0 0 "
      "12px\">{0}</h1>\n",
      base::html(title));
  for (const auto& b : blocks) {
    out += fmt::format("<p style=\"margin:0 0 12px\">{}</p>\n", base::html(b.paragraph));
    if (b.items.empty()) continue;
    out += "<ul style=\"margin:0 0 12px;padding-left:24px\">\n";
    for (const auto& i : b.items) out += fmt::format("<li>{}</li>\n", base::html(i));
    out += "</ul>\n";
  }
  return out + "</main>\n</body></html>\n";
}

std::string of_messages(std::uint64_t n, std::uint64_t all) {
  return fmt::format("{} of {}", base::human_count(n), base::plural(all, "message"));
}

std::string user_words(const std::string& kind, std::uint64_t n) {
  const std::string many = base::plural(n, "message");
  const bool one = n == 1;
  if (kind == "quarantine")
    return fmt::format("{}: the new server did not accept {}. {} kept, and your administrator can look into it.", many,
                       one ? "it" : "them", one ? "It is" : "They are");
  if (kind == "pending")
    return fmt::format("{}: not moved yet. Your administrator knows, and can move {}.", many, one ? "it" : "them");
  if (kind == "absent")
    return fmt::format(
        "{}: moved, but not found on the new server when it was checked. If you deleted {} there, all is well.", many,
        one ? "it" : "them");
  return fmt::format("{}: left out by a rule that your administrator set.", many);
}

// Messages of the report by account; those that are not on the target.
using Missing = std::map<std::string, std::vector<const json::object*>>;

UserNote note_of(const json::object& account, const json::object& report, const Missing& missing,
                 const std::map<std::string, std::vector<const json::object*>>& addresses) {
  UserNote note;
  note.address = word(account, "account");
  const auto& books = part(account, "books");
  const auto inventory = number(books, "inventory"), bound = number(books, "bound"),
             verified = number(books, "verified");
  std::vector<Block> blocks;
  blocks.push_back(
      {fmt::format("This is about the mail of {}, as of {}.", note.address, word(part(report, "run"), "started")), {}});
  std::string title = "Your mail has moved to the new server";
  const bool skipped = !word(account, "skipped").empty();
  std::uint64_t absent = 0, not_there = 0;
  std::vector<std::string> why;
  for (const auto& v : list(account, "reasons")) {
    const auto& r = v.as_object();
    const auto kind = word(r, "kind");
    const auto n = number(r, "messages");
    absent += kind == "absent" ? n : 0;
    // What the user deleted himself, and what is counted under another number, does not concern him.
    if (kind == "gone" || kind == "superseded") continue;
    not_there += n;
    why.push_back(user_words(kind, n));
  }
  const auto there = bound - std::min(bound, absent);
  if (skipped) {
    title = "Your mail has not been moved yet";
    blocks.push_back({"Your mail is still on the old server. Your administrator knows, and has the reason.", {}});
  } else if (inventory == 0) {
    blocks.push_back({word(account, "error").empty()
                          ? "There was no mail to move."
                          : "Your mail could not be looked at yet. Your administrator knows, and has the reason.",
                      {}});
    if (!word(account, "error").empty()) title = "Your mail has not been moved yet";
  } else if (not_there == 0) {
    blocks.push_back({fmt::format("All your mail is there: {} ({}).{}", base::plural(there, "message"),
                                  base::human_octets(number(books, "octets")),
                                  verified == bound && bound > 0
                                      ? " Every message was read back from the new server and is the same as before."
                                      : ""),
                      {}});
  } else {
    if (there == 0) title = "Your mail has not been moved yet";
    blocks.push_back({fmt::format("{} are on the new server.", of_messages(there, inventory)), {}});
    blocks.push_back({fmt::format("{} could not be moved:", of_messages(not_there, inventory)), why});
    std::vector<std::string> named;
    if (const auto it = missing.find(note.address); it != missing.end())
      for (const auto* m : it->second) {
        if (named.size() == kNamed) break;
        const auto date = word(*m, "date");
        named.push_back(fmt::format("in \"{}\": {}, {}", word(*m, "mailbox"),
                                    date.empty() ? "without a date" : "of " + date,
                                    base::human_octets(number(*m, "octets"))));
      }
    if (!named.empty())
      blocks.push_back({named.size() < not_there ? fmt::format("The first {} of them, by mailbox, date and size:",
                                                               base::human_count(named.size()))
                                                 : std::string("By mailbox, date and size:"),
                        named});
  }
  std::vector<std::string> renamed;
  for (const auto& v : list(account, "mailboxes")) {
    const auto& m = v.as_object();
    const auto from = word(m, "mailbox"), to = word(m, "target");
    if (!to.empty() && from != to && number(m, "bound") > 0 && renamed.size() < kNamed)
      renamed.push_back(fmt::format("\"{}\" is now \"{}\"", from, to));
  }
  if (!renamed.empty()) blocks.push_back({"Some folders have other names:", renamed});
  if (!skipped) {
    if (const auto login = word(account, "target_login"); !login.empty() && login != note.address)
      blocks.push_back({fmt::format("You log in as {}.", login), {}});
    std::vector<std::string> mine;
    if (const auto it = addresses.find(base::lower(word(account, "target_login"))); it != addresses.end())
      for (const auto* a : it->second)
        if (mine.size() < kNamed && !word(*a, "after").empty()) mine.push_back(word(*a, "after"));
    if (mine.size() > 1) blocks.push_back({"Mail reaches you under:", mine});
  }
  blocks.push_back({not_there == 0 && !skipped
                        ? "If you miss something, tell your administrator: the old server is still there for a while."
                        : "The old server is still there for a while: nothing is lost. Please ask your administrator "
                          "before you delete anything there.",
                    {}});
  note.text = as_text(title, blocks);
  note.html = as_html(title, blocks);
  return note;
}

}  // namespace

void each_note(const json::object& report, const std::function<bool(const UserNote&)>& receive) {
  Missing missing;
  for (const auto& v : list(report, "messages")) {
    const auto& m = v.as_object();
    const auto kind = word(m, "kind");
    if (kind == "quarantine" || kind == "absent" || kind == "excluded") missing[word(m, "account")].push_back(&m);
  }
  std::map<std::string, std::vector<const json::object*>> addresses;
  for (const auto& v : list(report, "addresses")) addresses[word(v.as_object(), "account")].push_back(&v.as_object());
  for (const auto& v : list(report, "accounts"))
    if (!receive(note_of(v.as_object(), report, missing, addresses))) return;
}

std::string note_file_name(const std::string& address) {
  std::string out;
  for (const char c : address) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '@' ||
                       c == '-' || c == '_' || c == '+' || (c == '.' && !out.empty());
    if (plain) out += c;
    else out += fmt::format("={:02X}", static_cast<unsigned char>(c));
  }
  if (out.size() <= 200) return out;
  base::Sha256 sum;
  sum.add(address);
  return out.substr(0, 180) + "=" + sum.hex().substr(0, 16);
}

}  // namespace pipeline
