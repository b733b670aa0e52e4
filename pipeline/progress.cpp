#include "pipeline/progress.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>

#include "base/text.hpp"

namespace pipeline {

namespace json = boost::json;
using std::chrono::milliseconds;
using namespace std::chrono_literals;

namespace {

constexpr std::size_t kNames = 64;    // of running accounts, and of failed ones
constexpr std::size_t kReason = 300;  // octets of a server's words
constexpr milliseconds kRemembered = 60s, kBetweenSamples = 500ms;

// Cut where a character begins.
std::string shortened(std::string text, std::size_t octets) {
  if (text.size() <= octets) return text;
  while (octets > 0 && (static_cast<unsigned char>(text[octets]) & 0xC0) == 0x80) --octets;
  return text.substr(0, octets);
}

std::int64_t seconds_until(milliseconds until, milliseconds now) {
  return until <= now ? 0 : (until - now + 999ms).count() / 1000;
}

std::uint64_t number(const json::object& o, std::string_view name) {
  const auto* v = o.if_contains(name);
  return v != nullptr && v->is_number() ? v->to_number<std::uint64_t>() : 0;
}

std::string text(const json::object& o, std::string_view name) {
  const auto* v = o.if_contains(name);
  return v != nullptr && v->is_string() ? std::string(v->as_string()) : std::string();
}

double rate(const json::object& o, std::string_view span, std::string_view what) {
  const auto* rates = o.if_contains("rate");
  const auto* r = rates != nullptr && rates->is_object() ? rates->as_object().if_contains(span) : nullptr;
  const auto* v = r != nullptr && r->is_object() ? r->as_object().if_contains(what) : nullptr;
  return v != nullptr && v->is_number() ? v->to_number<double>() : 0;
}

std::string waiting_text(const json::object& account) {
  const std::string why = base::printable(text(account, "waiting"));
  if (why.empty()) return {};
  const auto seconds = number(account, "waiting_seconds");
  return seconds == 0 ? why : fmt::format("{} to go: {}", base::human_duration(std::chrono::seconds(seconds)), why);
}

}  // namespace

void Progress::begin(std::string name, milliseconds now) {
  stage = std::move(name);
  began = now;
  before = load();
  total = total_octets = accounts = accounts_done = verified = 0;
  failed.clear();
  ended.clear();
}

load::LoadCounters Progress::load() const {
  auto sum = finished;
  for (const auto& [address, a] : running) sum += a.load;
  return sum;
}

std::uint64_t Progress::messages_done() const { return stage == "verify" ? verified : load().settled - before.settled; }

base::Octets Progress::octets_done() const { return load().octets - before.octets; }

const Wait* RunningAccount::wait() const {
  const auto longest = std::max_element(waits.begin(), waits.end(),
                                        [](const auto& a, const auto& b) { return a.second.until < b.second.until; });
  return longest == waits.end() ? nullptr : &longest->second;
}

Waiting::Waiting(Progress& progress, std::string account, std::string why, milliseconds until)
    : progress_(progress), account_(std::move(account)) {
  if (const auto a = progress_.running.find(account_); a != progress_.running.end())
    a->second.waits[this] = Wait{std::move(why), until};
}

Waiting::~Waiting() {
  if (const auto a = progress_.running.find(account_); a != progress_.running.end()) a->second.waits.erase(this);
}

void Rates::start(milliseconds now, std::uint64_t messages, base::Octets octets) {
  first_ = {now, messages, octets};
  samples_.assign(1, first_);
}

void Rates::sample(milliseconds now, std::uint64_t messages, base::Octets octets) {
  // The newest is always the last one given; an older one stays only half a second after the one before it.
  if (samples_.size() > 1 && samples_.back().at - samples_[samples_.size() - 2].at < kBetweenSamples)
    samples_.pop_back();
  samples_.push_back({now, messages, octets});
  while (samples_.size() > 2 && now - samples_[1].at >= kRemembered) samples_.pop_front();
}

Rates::Rate Rates::between(const Sample& from, const Sample& to) {
  const double seconds = static_cast<double>((to.at - from.at).count()) / 1000;
  if (seconds <= 0 || to.messages < from.messages || to.octets < from.octets) return {};
  return {static_cast<double>(to.messages - from.messages) / seconds,
          static_cast<double>(to.octets - from.octets) / seconds};
}

Rates::Rate Rates::last(milliseconds span) const {
  if (samples_.empty()) return {};
  const Sample& newest = samples_.back();
  const auto from =
      std::find_if(samples_.rbegin(), samples_.rend(), [&](const Sample& s) { return newest.at - s.at >= span; });
  return between(from == samples_.rend() ? samples_.front() : *from, newest);
}

Rates::Rate Rates::overall() const { return samples_.empty() ? Rate{} : between(first_, samples_.back()); }

std::optional<milliseconds> Rates::left(std::uint64_t messages) const {
  if (messages == 0) return 0ms;
  double pace = last(kRemembered).messages;
  if (pace <= 0) pace = overall().messages;
  if (pace <= 0) return std::nullopt;
  constexpr double kLongest = 1000.0 * 86400 * 1000;  // a thousand days: nobody waits for more
  return milliseconds(static_cast<std::int64_t>(std::min(kLongest, static_cast<double>(messages) / pace * 1000)));
}

void Meter::sample(milliseconds now) {
  const auto messages = progress_.messages_done();
  const auto octets = progress_.octets_done();
  if (stage_ != progress_.stage || began_ != progress_.began) {
    stage_ = progress_.stage;
    began_ = progress_.began;
    rates_.start(progress_.began, 0, 0);
  }
  rates_.sample(now, messages, octets);
}

json::object Meter::snapshot(milliseconds now) const {
  const Progress& p = progress_;
  json::array running, failed;
  std::string first_wait;
  for (const auto& [address, a] : p.running) {
    if (running.size() == kNames) break;
    json::object o{{"account", base::printable(shortened(address, kReason))}};
    if (p.stage == "copy") {
      o["messages_done"] = a.load.settled;
      o["messages"] = a.messages;
      o["octets_done"] = a.load.octets;
    }
    if (const auto* wait = a.wait()) {
      o["waiting"] = shortened(base::printable(wait->why), kReason);
      o["waiting_seconds"] = seconds_until(wait->until, now);
      if (first_wait.empty()) first_wait = fmt::format("{}: {}", address, waiting_text(o));
    }
    running.push_back(std::move(o));
  }
  for (const auto& [address, why] : p.failed) {
    if (failed.size() == kNames) break;
    failed.push_back(
        {{"account", base::printable(shortened(address, kReason))}, {"why", shortened(base::printable(why), kReason)}});
  }
  const auto recent = rates_.last(10s), overall = rates_.overall();
  const auto done = p.messages_done();
  json::object out{{"stage", p.stage},
                   {"stage_seconds", p.stage.empty() ? 0 : (now - p.began).count() / 1000},
                   {"accounts", p.accounts},
                   {"accounts_done", p.accounts_done - std::min<std::uint64_t>(p.accounts_done, p.failed.size())},
                   {"accounts_failed", p.failed.size()},
                   {"accounts_running", p.running.size()},
                   {"messages_done", done},
                   {"messages", p.total},
                   {"octets_done", p.octets_done()},
                   {"octets", p.total_octets},
                   {"rate",
                    {{"last_10_seconds", {{"messages", recent.messages}, {"octets", recent.octets}}},
                     {"overall", {{"messages", overall.messages}, {"octets", overall.octets}}}}},
                   {"eta_seconds", nullptr},
                   {"waiting", first_wait},
                   {"running", std::move(running)},
                   {"failed", std::move(failed)}};
  if (const auto left = p.total > done ? rates_.left(p.total - done) : std::optional(0ms); left && p.total > 0)
    out["eta_seconds"] = (*left + 999ms).count() / 1000;
  return out;
}

std::string status_line(const json::object& s) {
  const std::string stage = text(s, "stage");
  std::string out = stage.empty() ? "starting" : stage;
  out += ": ";
  if (stage == "copy" || stage == "verify") {
    out += fmt::format("{} of {} messages", base::human_count(number(s, "messages_done")),
                       base::human_count(number(s, "messages")));
    if (stage == "copy")
      out += fmt::format(", {} of {}", base::human_octets(number(s, "octets_done")),
                         base::human_octets(number(s, "octets")));
    out += fmt::format(", {:.0f} a second", rate(s, "last_10_seconds", "messages"));
    if (stage == "copy")
      out +=
          fmt::format(" ({}/s)", base::human_octets(static_cast<std::uint64_t>(rate(s, "last_10_seconds", "octets"))));
    if (const auto* eta = s.if_contains("eta_seconds"); eta != nullptr && eta->is_number() && number(s, "eta_seconds"))
      out += fmt::format(", about {} to go", base::human_duration(std::chrono::seconds(number(s, "eta_seconds"))));
    out += "; ";
  }
  out += fmt::format("{} of {} accounts done, {} running", number(s, "accounts_done"), number(s, "accounts"),
                     number(s, "accounts_running"));
  if (const auto n = number(s, "accounts_failed"); n > 0) out += fmt::format(", {} failed", n);
  if (const auto* v = s.if_contains("stopping"); v != nullptr && v->is_bool() && v->as_bool()) out += "; stopping";
  if (const auto why = text(s, "waiting"); !why.empty()) out += "; waiting: " + base::printable(why);
  return out;
}

std::vector<std::string> status_table(const json::object& s, std::size_t columns) {
  std::vector<std::string> out(1, status_line(s));
  const auto* running = s.if_contains("running");
  if (running != nullptr && running->is_array() && !running->as_array().empty()) {
    const bool copy = text(s, "stage") == "copy";
    std::vector<std::vector<std::string>> rows;
    rows.push_back(copy ? std::vector<std::string>{"ACCOUNT", "DONE", "OF", "SIZE", "WAITS FOR"}
                        : std::vector<std::string>{"ACCOUNT", "WAITS FOR"});
    for (const auto& v : running->as_array()) {
      if (!v.is_object()) continue;
      const auto& a = v.as_object();
      std::vector<std::string> row(1, base::printable(text(a, "account")));
      if (copy) {
        row.push_back(base::human_count(number(a, "messages_done")));
        row.push_back(base::human_count(number(a, "messages")));
        row.push_back(base::human_octets(number(a, "octets_done")));
      }
      row.push_back(waiting_text(a));
      rows.push_back(std::move(row));
    }
    for (auto& l :
         base::split(base::table(rows, copy ? std::vector<std::size_t>{1, 2, 3} : std::vector<std::size_t>{}), '\n'))
      if (!l.empty()) out.push_back("  " + l);
  }
  for (auto& l : out) l = shortened(std::move(l), columns);
  return out;
}

}  // namespace pipeline
