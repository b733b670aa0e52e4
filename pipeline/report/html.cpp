// The report as one page: verdict first, books, what is missing and what to do, then everything else.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "base/text.hpp"
#include "pipeline/report/fields.hpp"
#include "pipeline/report/page.hpp"
#include "pipeline/report/report.hpp"

namespace pipeline {

namespace json = boost::json;

namespace {

using base::html;
using base::human_count;

// A browser holds so many rows without effort; the CSV files have all.
constexpr std::size_t kRows = 1000;
constexpr std::size_t kChunk = 250;  // accounts in one table: those out of sight cost nothing

constexpr const char* kSide[] = {"source", "on_target"};

struct Share {
  const char* key;
  const char* name;
  const char* about;
};
// What an inventory is made of; "verified" is cut out of "bound" for the picture.
constexpr Share kShares[] = {{"verified", "on the target, re-read and equal", "verified"},
                             {"bound", "on the target, not re-read", "bound"},
                             {"pending", "not moved yet", "pending"},
                             {"quarantined", "refused by the target", "quarantined"},
                             {"excluded", "left out by a policy", "excluded"},
                             {"gone", "deleted at the source meanwhile", "gone"}};

std::uint64_t share(const json::object& books, std::string_view key) {
  const auto n = number(books, std::string(key).c_str());
  return key == "bound" ? n - std::min(n, number(books, "verified")) : n;
}

std::string percent(std::uint64_t part, std::uint64_t whole) {
  if (whole == 0) return "-";
  if (part == 0) return "0 %";
  if (part == whole) return "100 %";
  const double p = 100.0 * static_cast<double>(part) / static_cast<double>(whole);
  // What is not all must not look like all, nor something like nothing.
  if (part != whole && p >= 99.995) return "&gt; 99.99 %";
  if (part != 0 && p < 0.005) return "&lt; 0.01 %";
  return fmt::format("{:.2f} %", p);
}

std::string span_of(std::uint64_t seconds) {
  return seconds == 0 ? "less than a second" : base::human_duration(std::chrono::seconds(seconds));
}

class Page {
 public:
  explicit Page(const json::object& report) : r_(report), run_(part(r_, "run")), books_(part(r_, "books")) {}
  std::string make();

 private:
  template <class... Args>
  void put(fmt::format_string<Args...> f, Args&&... args) {
    fmt::format_to(std::back_inserter(out_), f, std::forward<Args>(args)...);
  }
  void section(const char* id, const char* title) { put("<section id=\"{}\">\n<h2>{}</h2>\n", id, title); }
  void end_section() { put("</section>\n"); }
  // A table that may be wider than the screen: it scrolls alone, with the keyboard, too. `caption` and `head` are
  // markup.
  void table(const std::string& caption, const std::string& classes, const std::vector<std::string>& head) {
    put("<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{}\"><table class=\"{}\"><caption>{}"
        "</caption><thead><tr>",
        caption, classes, caption);
    for (const auto& h : head) put("<th scope=\"col\"{}", h.starts_with("class=") ? " " + h : ">" + h);
    put("</tr></thead><tbody>\n");
  }
  void end_table() { put("</tbody></table></div>\n"); }
  void row(const std::vector<std::string>& cells) {
    put("<tr><th scope=\"row\">{}</th>", cells.front());
    for (std::size_t i = 1; i < cells.size(); ++i) put("<td>{}</td>", cells[i]);
    put("</tr>\n");
  }
  void lines(const std::string& title, const std::vector<std::string>& all, std::uint64_t total, const char* where);
  void more(std::uint64_t total, std::size_t shown, const char* what, const char* where) {
    if (total > shown)
      put("<p class=\"soft\">{} of {} {} are shown; {}.</p>\n", human_count(shown), human_count(total), what, where);
  }
  // Moved, and not found there by the last verification.
  std::uint64_t absent() const {
    std::uint64_t n = 0;
    for (const auto& v : list(r_, "reasons"))
      if (word(v.as_object(), "kind") == "absent") n += number(v.as_object(), "messages");
    return std::min(n, number(books_, "bound"));
  }
  std::string file(const char* what) const { return fmt::format("run-{}-{}.csv", number(run_, "number"), what); }

  void top();
  void books();
  void missing();
  void differences();
  void accounts();
  void names();
  void timing();
  void curve();
  void evidence();
  void environment();
  void events();

  const json::object& r_;
  const json::object& run_;
  const json::object& books_;
  std::string out_;
};

void Page::lines(const std::string& title, const std::vector<std::string>& all, std::uint64_t total,
                 const char* where) {
  if (all.empty()) return;
  const auto shown = std::min(all.size(), kRows);
  put("<details{}><summary>{} ({})</summary>\n<ul class=\"lines\">\n", shown <= 20 ? " open" : "", title,
      human_count(total));
  for (std::size_t i = 0; i < shown; ++i) put("<li>{}</li>\n", html(all[i]));
  put("</ul>\n");
  more(total, shown, "lines", where);
  put("</details>\n");
}

void Page::top() {
  const auto verdict = verdict_of(r_);
  const bool done = verdict.exit == base::Exit::done;
  const bool bad = verdict.exit == base::Exit::difference || verdict.exit == base::Exit::failed ||
                   verdict.exit == base::Exit::login_refused;
  const char* icon = done  ? "<path d=\"M7 12.5l3.4 3.4L17 9\"/>"
                     : bad ? "<path d=\"M8.5 8.5l7 7m0-7l-7 7\"/>"
                           : "<path d=\"M12 7v6m0 3.4v.1\"/>";
  put("<header>\n<p class=\"brand\">4d2kms</p>\n<h1>Migration report</h1>\n<p class=\"soft\">Run {} ({}), started {}, "
      "took "
      "{}</p>\n<div class=\"verdict {}\"><svg viewBox=\"0 0 24 24\" aria-hidden=\"true\" fill=\"none\" "
      "stroke=\"currentColor\" stroke-width=\"2\" stroke-linecap=\"round\" stroke-linejoin=\"round\"><circle cx=\"12\" "
      "cy=\"12\" r=\"10\"/>{}</svg><p><span>{}</span></p></div>\n</header>\n<main>\n",
      number(run_, "number"), html(word(run_, "command")), html(word(run_, "started")),
      span_of(number(run_, "seconds")),
      done  ? "ok"
      : bad ? "bad"
            : "warn",
      icon, html(verdict.sentence));
  const auto inventory = number(books_, "inventory"), there = number(books_, "bound") - absent();
  put("<dl class=\"cards\">\n");
  const auto card = [&](const char* name, const std::string& value, const std::string& small) {
    put("<div><dt>{}</dt><dd>{}<small>{}</small></dd></div>\n", name, value, small);
  };
  card("On the target", human_count(there), fmt::format("of {} in the inventory", human_count(inventory)));
  card("Re-read and equal", human_count(number(books_, "verified")),
       percent(number(books_, "verified"), number(books_, "bound")) + " of those moved");
  card("Not on the target", human_count(inventory - there), percent(inventory - there, inventory));
  card("Accounts", human_count(list(r_, "accounts").size()),
       "in " + base::plural(list(r_, "post_offices").size(), "Post Office"));
  card("Size", base::human_octets(number(books_, "octets")),
       base::human_octets(number(run_, "octets")) + " sent in this run");
  put("</dl>\n<nav aria-label=\"Contents\"><ul><li><a href=\"#books\">Books</a><li><a href=\"#missing\">Not "
      "migrated</a>"
      "<li><a href=\"#differences\">Verification</a><li><a href=\"#accounts\">Accounts</a><li><a href=\"#names\">Names "
      "before and after</a><li><a href=\"#timing\">Timing</a><li><a href=\"#evidence\">Evidence</a><li><a "
      "href=\"#environment\">Environment</a></ul></nav>\n");
}

void Page::books() {
  section("books", "Books");
  const auto inventory = number(books_, "inventory");
  // Every share that is not nothing is to be seen.
  constexpr double kWidth = 1000, kLeast = 6;
  double needed = 0, wide = 0;
  for (const auto& s : kShares) {
    const double w =
        inventory == 0 ? 0 : kWidth * static_cast<double>(share(books_, s.key)) / static_cast<double>(inventory);
    if (w > 0 && w < kLeast) needed += kLeast;
    else wide += w;
  }
  put("<figure><svg class=\"wide\" viewBox=\"0 0 1000 44\" preserveAspectRatio=\"none\" style=\"height:2.75rem\" "
      "role=\"img\" "
      "aria-labelledby=\"books-title\"><title id=\"books-title\">");
  std::string words;
  for (const auto& s : kShares)
    if (share(books_, s.key) > 0)
      words += fmt::format("{}{} {}", words.empty() ? "" : ", ", human_count(share(books_, s.key)), s.name);
  put("{}</title>\n", words.empty() ? "no messages" : words);
  double x = 0;
  for (const auto& s : kShares) {
    const double exact =
        inventory == 0 ? 0 : kWidth * static_cast<double>(share(books_, s.key)) / static_cast<double>(inventory);
    if (exact <= 0) continue;
    const double w = exact < kLeast ? kLeast : exact * (kWidth - needed) / wide;
    put("<rect x=\"{:.1f}\" y=\"0\" width=\"{:.1f}\" height=\"44\" "
        "style=\"fill:var(--c-{});stroke:var(--sheet);stroke-width:2\"/>\n",
        x, w, s.about);
    x += w;
  }
  if (inventory == 0) put("<rect width=\"1000\" height=\"44\" style=\"fill:var(--line)\"/>\n");
  put("</svg></figure>\n<div class=\"books\">");
  table("All messages of the inventory, and where each of them is", "n", {"Where it is", "Messages", "Share"});
  for (const auto& s : kShares)
    row({fmt::format("<span class=\"sw\" style=\"background:var(--c-{})\"></span>{}", s.about, s.name),
         human_count(share(books_, s.key)), percent(share(books_, s.key), inventory)});
  put("</tbody><tfoot><tr><th scope=\"row\">inventory</th><td>{}</td><td>100 %</td></tr></tfoot></table></div></div>\n",
      human_count(inventory));
  const auto closed = books_.contains("closed") && books_.at("closed").as_bool();
  put("<p>inventory {} = bound {} + gone {} + excluded {} + quarantined {} + pending {}: the books are {}.</p>\n",
      human_count(inventory), human_count(number(books_, "bound")), human_count(number(books_, "gone")),
      human_count(number(books_, "excluded")), human_count(number(books_, "quarantined")),
      human_count(number(books_, "pending")), closed ? "closed" : "<strong>NOT CLOSED</strong>");
  if (absent() > 0)
    put("<p><strong>{} of those that were moved {} not found on the target by the last verification.</strong></p>\n",
        human_count(absent()), absent() == 1 ? "was" : "were");
  put("<h3>Post Offices</h3>\n");
  table("Books of each Post Office", "n",
        {"Post Office", "Inventory", "On target", "Re-read", "Gone", "Excluded", "Quarantined", "Pending", "Size"});
  for (const auto& v : list(r_, "post_offices")) {
    const auto& o = v.as_object();
    std::vector<std::string> cells{html(word(o, "post_office"))};
    for (const char* key : {"inventory", "bound", "verified", "gone", "excluded", "quarantined", "pending"})
      cells.push_back(human_count(number(o, key)));
    cells.push_back(base::human_octets(number(o, "octets")));
    row(cells);
  }
  end_table();
  end_section();
}

void Page::missing() {
  section("missing", "What was not migrated, and what to do");
  bool any = false;
  const auto reasons = [&](bool on_target, const char* caption) {
    std::vector<const json::object*> of;
    for (const auto& v : list(r_, "reasons"))
      if (v.as_object().at("on_target").as_bool() == on_target) of.push_back(&v.as_object());
    if (of.empty()) return;
    any = any || !on_target;
    table(caption, "n r", {"Messages", "Accounts", "class=\"t\">Why", "class=\"t\">What to do"});
    for (const auto* o : of) {
      const auto meaning = word(*o, "meaning"), detail = word(*o, "detail");
      put("<tr><th scope=\"row\">{}</th><td>{}</td><td class=\"t\">{}{}</td><td class=\"t\">{}</td></tr>\n",
          human_count(number(*o, "messages")), human_count(number(*o, "accounts")),
          html(meaning.empty() ? word(*o, "kind") : meaning),
          detail.empty()
              ? ""
              : fmt::format("<br><span class=\"soft\">{}{}</span>", on_target ? "such as: " : "", html(detail)),
          html(word(*o, "to_do")));
    }
    end_table();
  };
  reasons(false, "Messages that are not on the target, by reason");
  // Accounts that say the same are one line.
  std::map<std::string, std::vector<std::string>> why;
  std::vector<std::string> boxes, left;
  for (const auto& v : list(r_, "accounts")) {
    const auto& a = v.as_object();
    const auto skipped = word(a, "skipped"), error = word(a, "error"), address = word(a, "account");
    if (!skipped.empty()) why["skipped: " + skipped].push_back(address);
    if (!error.empty()) why[error].push_back(address);
    for (const auto& m : list(a, "mailboxes")) {
      const auto& b = m.as_object();
      if (const auto w = word(b, "error"); !w.empty())
        boxes.push_back(fmt::format("{}, \"{}\": {}", address, word(b, "mailbox"), w));
      if (const auto w = word(b, "not_migrated"); !w.empty() && !w.starts_with("holds no messages"))
        left.push_back(fmt::format("{}, mailbox \"{}\": {}", address, word(b, "mailbox"), w));
    }
  }
  for (const auto& v : list(r_, "post_offices"))
    if (const auto w = word(v.as_object(), "problem"); !w.empty())
      why["Post Office " + word(v.as_object(), "post_office") + ": " + w];
  if (!why.empty()) {
    any = true;
    table("Accounts that were skipped or stopped", "", {"Why", "Accounts", "Which"});
    std::size_t n = 0;
    for (const auto& [reason, who] : why) {
      if (++n > kRows) break;
      std::string first;
      for (std::size_t i = 0; i < std::min<std::size_t>(who.size(), 10); ++i)
        first += (i > 0 ? ", " : "") + html(who[i]);
      if (who.size() > 10) first += fmt::format(" and {} more", human_count(who.size() - 10));
      row({html(reason), human_count(who.size()), first});
    }
    end_table();
    more(why.size(), std::min(why.size(), kRows), "reasons", file("accounts").c_str());
  }
  any = any || !boxes.empty();
  lines("Mailboxes that were not wholly migrated", boxes, boxes.size(), file("mailboxes").c_str());
  std::vector<std::string> objects;
  for (const auto& v : list(r_, "domains")) {
    const auto& o = v.as_object();
    if (word(o, "state") != "ours")
      objects.push_back(fmt::format("{} {} ({}): {}{}", word(o, "kind"), word(o, "name"), word(o, "post_office"),
                                    word(o, "state"), word(o, "detail").empty() ? "" : ": " + word(o, "detail")));
  }
  any = any || !objects.empty();
  lines("Domains and aliases that were not made by us", objects, objects.size(), "");
  std::vector<std::string> messages, remarks;
  for (const auto& v : list(r_, "messages")) {
    const auto& o = v.as_object();
    const bool there = (word(o, "state") == "bound" || word(o, "state") == "verified") && word(o, "kind") != "absent";
    (there ? remarks : messages).push_back(message_line(o));
  }
  const auto& totals = part(r_, "totals");
  lines("These messages, one by one", messages,
        std::max<std::uint64_t>(messages.size(), number(totals, "messages_not_on_target")), file("messages").c_str());
  if (!any && messages.empty()) put("<p>Nothing: every message of the inventory is on the target.</p>\n");
  for (const auto& v : list(r_, "not_migrated")) {
    const auto& o = v.as_object();
    left.push_back(fmt::format(
        "{}: {}: {}", word(o, "account").empty() ? "Post Office " + word(o, "post_office") : word(o, "account"),
        word(o, "kind"), word(o, "detail")));
  }
  if (!left.empty()) {
    put("<h3>Seen at the source and not migrated</h3>\n<p class=\"soft\">No mail, but users miss it: make it by hand "
        "where "
        "it is still wanted.</p>\n");
    lines("Aliases, forwards, auto-replies, lists, quotas, mailboxes that hold none of the user's own mail", left,
          left.size(), file("mailboxes").c_str());
  }
  if (!remarks.empty()) {
    put("<h3>On the target, but not quite as it was</h3>\n");
    reasons(true, "Remarks on messages that were moved");
    lines("These remarks, one by one", remarks, std::max<std::uint64_t>(remarks.size(), number(totals, "remarks")),
          file("messages").c_str());
  }
  end_section();
}

void Page::differences() {
  const auto& v = part(r_, "verification");
  const auto against = word(v, "against");
  section("differences", "Verification and differences");
  put("<p>Level {}: {} looked at, {} read back{}{}.</p>\n", html(word(v, "level")),
      base::plural(number(v, "messages"), "message"), base::plural(number(v, "bodies_read"), "body", "bodies"),
      against.empty() ? fmt::format(", {} byte for byte the same", human_count(number(v, "byte_identical"))) : "",
      number(v, "strangers_on_target") > 0
          ? fmt::format("; {} on the target that are not of this source", human_count(number(v, "strangers_on_target")))
          : "");
  if (!against.empty()) put("<p>The source was not asked: the target was compared with the {}.</p>\n", html(against));
  std::vector<std::string> unexplained, explained, surplus, problems;
  for (const auto& d : list(r_, "differences")) {
    const auto& o = d.as_object();
    (o.at("explained").as_bool() ? explained : unexplained).push_back(difference_line(o));
  }
  for (const auto& s : list(r_, "surplus"))
    surplus.push_back(fmt::format("{}, \"{}\": {}", word(s.as_object(), "account"), word(s.as_object(), "mailbox"),
                                  word(s.as_object(), "detail")));
  for (const auto& p : list(r_, "problems")) problems.emplace_back(p.as_string());
  const auto& totals = part(r_, "totals");
  const auto all = std::max<std::uint64_t>(number(totals, "differences"), unexplained.size() + explained.size());
  const auto without = std::max<std::uint64_t>(number(v, "unexplained"), unexplained.size());
  if (unexplained.empty()) put("<p>No difference that nothing explains.</p>\n");
  lines("Differences that nothing explains", unexplained, without, file("differences").c_str());
  lines("Places that could not be verified", problems, problems.size(), "");
  lines("Second copies on the target", surplus, std::max<std::uint64_t>(surplus.size(), number(totals, "surplus")),
        "the JSON report has more");
  lines("Differences on record", explained, all - std::min(all, without), file("differences").c_str());
  end_section();
}

void Page::accounts() {
  section("accounts", "Accounts");
  const auto& all = list(r_, "accounts");
  put("<div class=\"filter\" id=\"filter\" hidden><label>Find <input type=\"search\" placeholder=\"jane@, skipped, "
      "...\"></label><label>Show <select><option value=\"all\">all<option value=\"open\">not complete</select></label>"
      "<output></output></div>\n");
  std::map<std::string, std::vector<const json::object*>> by_office;
  for (const auto& v : all) by_office[word(v.as_object(), "post_office")].push_back(&v.as_object());
  for (const auto& [office, of] : by_office)
    for (std::size_t from = 0; from < of.size(); from += kChunk) {
      const std::size_t to = std::min(of.size(), from + kChunk);
      const auto caption = of.size() <= kChunk ? fmt::format("Post Office {}", html(office))
                                               : fmt::format("Post Office {}, accounts {} to {}", html(office),
                                                             human_count(from + 1), human_count(to));
      put("<div class=\"chunk\" style=\"contain-intrinsic-size:auto {}rem\"><div class=\"scroll\" tabindex=\"0\" "
          "role=\"region\" "
          "aria-label=\"{}\"><table class=\"n\"><caption>{}</caption><colgroup><col class=\"a\"><col span=\"8\"><col "
          "class=\"s\"></colgroup><thead><tr><th scope=\"col\">Account<th scope=\"col\">Inventory<th scope=\"col\">On "
          "target<th scope=\"col\">Re-read<th scope=\"col\">Gone<th scope=\"col\">Excluded<th scope=\"col\">Refused<th "
          "scope=\"col\">Pending<th scope=\"col\">Size<th scope=\"col\" class=\"t\">State</tr></thead><tbody>\n",
          (to - from) * 2 + 4, caption, caption);
      for (std::size_t i = from; i < to; ++i) {
        const auto& a = *of[i];
        const auto& b = part(a, "books");
        put("<tr><th scope=\"row\">{}", html(word(a, "account")));
        for (const char* key : {"inventory", "bound", "verified", "gone", "excluded"})
          put("<td>{}", human_count(number(b, key)));
        const auto refused = number(b, "quarantined"), pending = number(b, "pending");
        put(fmt::runtime(refused > 0 ? "<td><b>{}</b>" : "<td>{}"), human_count(refused));
        put(fmt::runtime(pending > 0 ? "<td><i>{}</i>" : "<td>{}"), human_count(pending));
        put("<td>{}", base::human_octets(number(b, "octets")));
        const auto skipped = word(a, "skipped"), error = word(a, "error");
        if (!skipped.empty()) put("<td class=\"t\"><i>skipped:</i> {}\n", html(skipped));
        else if (!error.empty()) put("<td class=\"t\"><b>stopped:</b> {}\n", html(error));
        else if (refused + pending > 0) put("<td class=\"t\"><i>{} missing</i>\n", human_count(refused + pending));
        else put("<td class=\"t k\">complete\n");
      }
      put("</tbody></table></div></div>\n");
    }
  put("<p class=\"soft\">For spreadsheets: {} and {}.</p>\n", file("accounts"), file("mailboxes"));
  end_section();
}

void Page::names() {
  section("names", "Names before and after");
  struct Renamed {
    std::uint64_t accounts = 0, messages = 0;
  };
  std::map<std::pair<std::string, std::string>, Renamed> boxes;
  for (const auto& v : list(r_, "accounts"))
    for (const auto& m : list(v.as_object(), "mailboxes")) {
      const auto& b = m.as_object();
      if (word(b, "target").empty()) continue;
      auto& n = boxes[{word(b, "mailbox"), word(b, "target")}];
      ++n.accounts;
      n.messages += number(b, "inventory");
    }
  std::vector<const std::pair<const std::pair<std::string, std::string>, Renamed>*> sorted;
  for (const auto& b : boxes) sorted.push_back(&b);
  // Those that got another name first: that is what is looked for.
  std::stable_sort(sorted.begin(), sorted.end(), [](const auto* a, const auto* b) {
    return std::tuple(a->first.first == a->first.second, b->second.accounts) <
           std::tuple(b->first.first == b->first.second, a->second.accounts);
  });
  table("Mailboxes: equal names of several accounts are one line", "", {"Before", "After", "Accounts", "Messages"});
  for (std::size_t i = 0; i < std::min(sorted.size(), kRows); ++i) {
    const auto& [names, n] = *sorted[i];
    row({html(names.first), names.first == names.second ? "<span class=\"z\">the same</span>" : html(names.second),
         human_count(n.accounts), human_count(n.messages)});
  }
  end_table();
  more(sorted.size(), std::min(sorted.size(), kRows), "names", file("mailboxes").c_str());
  const auto& addresses = list(r_, "addresses");
  if (!addresses.empty()) {
    table("Addresses", "", {"Before", "After", "Account", "Status"});
    for (std::size_t i = 0; i < std::min(addresses.size(), 2 * kRows); ++i) {
      const auto& o = addresses[i].as_object();
      row({html(word(o, "before")), html(word(o, "after")), html(word(o, "account")), html(word(o, "status"))});
    }
    end_table();
    more(addresses.size(), std::min(addresses.size(), 2 * kRows), "addresses", "the JSON report has all");
  } else {
    std::vector<std::pair<std::string, std::string>> log_ins;
    for (const auto& v : list(r_, "accounts"))
      if (word(v.as_object(), "skipped").empty() &&
          word(v.as_object(), "account") != word(v.as_object(), "target_login"))
        log_ins.emplace_back(word(v.as_object(), "account"), word(v.as_object(), "target_login"));
    if (!log_ins.empty()) {
      table("Accounts that log in by another name on the target", "", {"Account", "Log-in on the target"});
      for (std::size_t i = 0; i < std::min(log_ins.size(), kRows); ++i)
        row({html(log_ins[i].first), html(log_ins[i].second)});
      end_table();
      more(log_ins.size(), std::min(log_ins.size(), kRows), "log-ins", file("accounts").c_str());
    }
  }
  end_section();
}

void Page::timing() {
  const auto& t = part(r_, "timing");
  section("timing", "Timing");
  curve();
  if (!list(t, "stages").empty()) {
    table("Stages of this run", "n",
          {"Stage", "class=\"t\">Started", "Took", "Sent", "Re-read", "Messages a second", "Sent a second"});
    for (const auto& v : list(t, "stages")) {
      const auto& s = v.as_object();
      const auto seconds = std::max<std::uint64_t>(1, number(s, "seconds"));
      put("<tr><th scope=\"row\">{}</th><td "
          "class=\"t\">{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>\n",
          html(word(s, "stage")), html(word(s, "started")), span_of(number(s, "seconds")),
          human_count(number(s, "appended")), human_count(number(s, "verified")),
          human_count((number(s, "appended") + number(s, "verified")) / seconds),
          base::human_octets(number(s, "octets") / seconds));
    }
    end_table();
  }
  const auto& runs = list(t, "runs");
  if (runs.size() > 1) {
    table("Runs of this state", "n", {"Run", "class=\"t\">Command", "class=\"t\">Started", "Took", "Sent", "Size"});
    for (const auto& v : runs) {
      const auto& o = v.as_object();
      const bool ended = o.at("ended").as_bool();
      put("<tr><th scope=\"row\">{}</th><td class=\"t\">{}</td><td "
          "class=\"t\">{}</td><td>{}</td><td>{}</td><td>{}</td></tr>\n",
          number(o, "number"), html(word(o, "command")), html(word(o, "started")),
          ended ? span_of(number(o, "seconds")) : "did not end", ended ? human_count(number(o, "appended")) : "-",
          ended ? base::human_octets(number(o, "octets")) : "-");
    }
    end_table();
  }
  end_section();
}

// A round number that is not less.
double round_up(double v) {
  if (v <= 1) return 1;
  const double p = std::pow(10, std::floor(std::log10(v)));
  for (const double m : {1.0, 2.0, 2.5, 5.0, 10.0})
    if (v <= m * p * 1.0001) return m * p;
  return 10 * p;
}

void Page::curve() {
  struct Point {
    double at, sent, read;
  };
  std::vector<Point> rates;
  const auto& samples = list(part(r_, "timing"), "samples");
  const auto at = [&](std::size_t i, std::size_t field) { return samples[i].as_array()[field].to_number<double>(); };
  // Several samples of one second (a stage that began and ended in it) are one.
  for (std::size_t from = 0, i = 1; i < samples.size(); ++i) {
    const double took = at(i, 0) - at(from, 0);
    if (took <= 0) continue;
    rates.push_back({at(from, 0), (at(i, 1) - at(from, 1)) / took, (at(i, 2) - at(from, 2)) / took});
    from = i;
  }
  const double end = samples.empty() ? 0 : at(samples.size() - 1, 0);
  if (rates.size() < 3) {
    put("<p class=\"soft\">This run was too short for a curve.</p>\n");
    return;
  }
  double most = 0;
  for (const auto& p : rates) most = std::max({most, p.sent, p.read});
  const double top = round_up(most);
  constexpr double kLeft = 64, kRight = 890, kTop = 12, kBottom = 206;
  const auto x = [&](double t) { return kLeft + (kRight - kLeft) * t / end; };
  const auto y = [&](double v) { return kBottom - (kBottom - kTop) * v / top; };
  put("<figure><div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Messages a second\"><svg class=\"wide "
      "plot\" viewBox=\"0 0 900 250\" "
      "role=\"img\" aria-labelledby=\"curve-title\" font-size=\"13\" fill=\"currentColor\"><title "
      "id=\"curve-title\">Messages a second over "
      "the time of this run; at most {} a second</title>\n",
      human_count(static_cast<std::uint64_t>(most)));
  for (int i = 0; i <= 4; ++i) {
    const double v = top * i / 4;
    put("<line x1=\"{}\" x2=\"{}\" y1=\"{:.1f}\" y2=\"{:.1f}\" style=\"stroke:var(--line)\"/><text x=\"{}\" "
        "y=\"{:.1f}\" "
        "text-anchor=\"end\">{}</text>\n",
        kLeft, kRight, y(v), y(v), kLeft - 8, y(v) + 4,
        v == std::floor(v) ? human_count(static_cast<std::uint64_t>(v)) : fmt::format("{:.1f}", v));
  }
  for (int i = 0; i <= 6; ++i) {
    const double t = end * i / 6;
    put("<text x=\"{:.1f}\" y=\"{}\" text-anchor=\"{}\">{}</text>\n", x(t), kBottom + 20,
        i == 0   ? "start"
        : i == 6 ? "end"
                 : "middle",
        i == 0 ? std::string("0")
               : base::human_duration(std::chrono::milliseconds(static_cast<std::int64_t>(1000 * t))));
  }
  const auto steps = [&](double Point::*rate) {
    std::string path;
    for (std::size_t i = 0; i < rates.size(); ++i) {
      const double until = i + 1 < rates.size() ? rates[i + 1].at : end;
      path += fmt::format("{}{:.1f} {:.1f}H{:.1f}", i == 0 ? "M" : "L", x(rates[i].at), y(rates[i].*rate), x(until));
    }
    return path;
  };
  put("<path d=\"{}L{:.1f} {}L{:.1f} {}Z\" style=\"fill:var(--c-verified);opacity:.16\"/><path d=\"{}\" fill=\"none\" "
      "style=\"stroke:var(--c-verified);stroke-width:2\"/>\n",
      steps(&Point::sent), x(end), kBottom, x(rates.front().at), kBottom, steps(&Point::sent));
  put("<path d=\"{}\" fill=\"none\" style=\"stroke:var(--accent);stroke-width:2;stroke-dasharray:6 4\"/>\n",
      steps(&Point::read));
  put("<line x1=\"64\" x2=\"94\" y1=\"240\" y2=\"240\" style=\"stroke:var(--c-verified);stroke-width:2\"/><text "
      "x=\"100\" y=\"244\">sent</text>"
      "<line x1=\"150\" x2=\"180\" y1=\"240\" y2=\"240\" "
      "style=\"stroke:var(--accent);stroke-width:2;stroke-dasharray:6 4\"/><text "
      "x=\"186\" y=\"244\">re-read from the target</text>\n</svg></div><figcaption>Messages a second over the time of "
      "this run</figcaption></figure>\n");
}

void Page::evidence() {
  section("evidence", "Evidence");
  const auto& e = part(r_, "evidence");
  if (e.empty()) {
    put("<p>This run did not compare all bodies of both servers: <code>4d2kms verify --level full</code> does, and "
        "records digests "
        "here that can be worked out again later.</p>\n");
    end_section();
    return;
  }
  put("<p>SHA-256 over what was re-read: one line a message, its mailbox on the target and the digest of its content, "
      "sorted. "
      "<code>4d2kms verify --against run-{}.json</code> reads the target again and says what differs; "
      "<code>docs/manual.md</code> says "
      "how to work it out without us.</p>\n<dl class=\"facts\">\n",
      number(run_, "number"));
  for (const char* side : kSide) {
    const auto& s = part(e, side);
    put("<dt>{}, all accounts<dd>{}\n", side == kSide[0] ? "Source" : "Target",
        s.empty() ? std::string("not read whole")
                  : fmt::format("<code>{}</code> ({})", html(word(s, "sha256")),
                                base::plural(number(s, "messages"), "message")));
  }
  put("</dl>\n");
  const auto& accounts = list(e, "accounts");
  table("Digests of each account", "e", {"Account", "Source", "Target", "Equal"});
  const auto shown = std::min(accounts.size(), kRows);
  for (std::size_t i = 0; i < shown; ++i) {
    const auto& a = accounts[i].as_object();
    const auto& from = part(a, kSide[0]);
    const auto& to = part(a, kSide[1]);
    const auto digest = [&](const json::object& s) {
      return s.empty() ? std::string("-")
                       : fmt::format("<code>{}</code><br><span class=\"soft\">{}</span>", html(word(s, "sha256")),
                                     base::plural(number(s, "messages"), "message"));
    };
    row({html(word(a, "account")), digest(from), digest(to),
         from.empty() || to.empty()                   ? "-"
         : word(from, "sha256") == word(to, "sha256") ? "yes"
                                                      : "no: see above"});
  }
  end_table();
  more(accounts.size(), shown, "accounts", file("accounts").c_str());
  put("<p class=\"soft\">Source and target may differ where messages were repaired or rewritten, deleted at the source "
      "since, or are on "
      "the target twice: each is listed above.</p>\n");
  end_section();
}

void Page::environment() {
  section("environment", "Environment");
  const auto& e = part(r_, "environment");
  put("<dl class=\"facts\">\n<dt>Program<dd>{}\n<dt>Libraries<dd>{}\n<dt>System<dd>{}\n", html(word(e, "program")),
      html(word(e, "libraries")), html(word(e, "system")));
  for (const char* side : {"source", "target"}) {
    const auto& s = part(e, side);
    const char* name = side == std::string_view("source") ? "Source" : "Target";
    put("<dt>{}<dd>{}{}{}\n", name, html(word(s, "address")), word(s, "version").empty() ? "" : ", ",
        html(word(s, "version")));
    if (!word(s, "greeting").empty()) put("<dt>{} greets<dd>{}\n", name, html(word(s, "greeting")));
    if (!word(s, "capabilities").empty()) put("<dt>{} can<dd class=\"soft\">{}\n", name, html(word(s, "capabilities")));
  }
  put("</dl>\n");
  end_section();
}

void Page::events() {
  std::vector<std::string> all;
  for (const auto& e : list(r_, "events")) {
    std::string line(e.as_string());
    if (!line.starts_with("mailbox created")) all.push_back(std::move(line));
  }
  if (all.empty()) return;
  section("events", "What happened on the way");
  lines("Events", all,
        std::max<std::uint64_t>(
            all.size(), number(part(r_, "totals"), "events") > kListed ? number(part(r_, "totals"), "events") : 0),
        "the JSON report has more");
  end_section();
}

std::string Page::make() {
  out_ = page_begin(fmt::format("4d2kms: migration report, run {}", number(run_, "number")));
  top();
  books();
  missing();
  differences();
  accounts();
  names();
  timing();
  evidence();
  environment();
  events();
  put("</main>\n<footer><p>Fingerprint of this report (SHA-256): <code>{}</code></p><p>It is that of run-{}.json with "
      "64 zeros in its place: "
      "<code>sed -E 's/\"fingerprint\":\"[0-9a-f]+\"/\"fingerprint\":\"{}\"/' run-{}.json | "
      "sha256sum</code></p></footer>\n",
      html(word(r_, "fingerprint")), number(run_, "number"), std::string(64, '0'), number(run_, "number"));
  return std::move(out_) + page_end();
}

}  // namespace

std::string report_html(const json::object& report) { return Page(report).make(); }

}  // namespace pipeline
