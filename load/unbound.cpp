#include "load/unbound.hpp"

namespace load {

void Unbound::add(Copy copy) {
  uids_.insert(copy.uid);
  ++free_;
  by_e1_[copy.print.e1].push_back(copies_.size());
  if (copy.print.e1x) by_e1x_[*copy.print.e1x].push_back(copies_.size());
  copies_.push_back(std::move(copy));
}

void Unbound::take(Copy& copy) {
  copy.taken = true;
  --free_;
}

Copy* Unbound::find(const base::Fingerprint& print, const std::optional<base::DateTime>& date,
                    const std::function<std::string()>& flags, Likeness at_least) {
  std::optional<std::string> sent;
  const auto free_one = [&](const Index& index, const base::Digest& d, bool rewritten) -> Copy* {
    const auto it = index.find(d);
    if (it == index.end()) return nullptr;
    if (!sent) sent = flags();
    Copy* best = nullptr;
    auto best_likeness = at_least;
    for (const auto at : it->second) {
      Copy& c = copies_[at];
      if (c.taken || (rewritten && c.print.header_8bit)) continue;
      const bool same_date = date && c.date && c.date->same_instant(*date), same_flags = c.flags == *sent;
      const auto likeness = same_date && same_flags ? Likeness::both
                            : same_date             ? Likeness::date
                            : same_flags            ? Likeness::flags
                                                    : Likeness::content;
      if (likeness < at_least || (c.spare && likeness < Likeness::date) ||
          (best != nullptr && likeness <= best_likeness))
        continue;
      best = &c;
      best_likeness = likeness;
      if (likeness == Likeness::both) break;
    }
    return best;
  };
  if (auto* c = free_one(by_e1_, print.e1, false)) return c;
  // A server that rewrites raw headers leaves no 8-bit octet in them: a copy that has some is another message.
  if (print.e1x)
    if (auto* c = free_one(by_e1x_, *print.e1x, true)) return c;
  return nullptr;
}

}  // namespace load
