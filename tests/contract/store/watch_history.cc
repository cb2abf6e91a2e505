// SPDX-License-Identifier: GPL-2.0-or-later
#include "tests/contract/store/watch_history.h"

#include <algorithm>
#include <set>

#include <fmt/format.h>

namespace trama::test {
namespace {

bool is_event(const Seen& s) { return s.type != "BOOKMARK"; }

// Those of `all` with a revision in (after, until].
std::vector<Seen> between(const std::vector<Seen>& all, std::uint64_t after, std::uint64_t until) {
  std::vector<Seen> out;
  for (const auto& s : all)
    if (s.revision > after && s.revision <= until) out.push_back(s);
  return out;
}

std::string text(const Seen& s) { return fmt::format("{} {} at {}", s.type, s.name, s.revision); }

}  // namespace

std::vector<Seen> expected(const Truth& truth, const WatchRecord& record) {
  std::vector<Seen> out;
  std::map<std::string, Written> now;
  for (const auto& w : truth) {
    auto selected = [&](const Written& x) {
      return (record.group.empty() || x.group == record.group) && (record.name.empty() || x.name == record.name);
    };
    auto before = now.find(w.name);
    bool was = before != now.end() && selected(before->second);
    bool is = !w.deleted && selected(w);
    Seen s{"", w.revision, w.name, w.data, 0};
    if (is)
      s.type = was ? "MODIFIED" : "ADDED";
    else if (was)
      s.type = "DELETED", s.data = before->second.data;  // the last content that was in view
    if (!s.type.empty()) out.push_back(s);
    if (w.deleted)
      now.erase(w.name);
    else
      now[w.name] = w;
  }
  return out;
}

std::string not_ordered(const WatchRecord& record) {
  for (const auto& session : record.sessions) {
    auto last = session.from;
    for (const auto& s : session.seen) {
      if (is_event(s) ? s.revision <= last : s.revision < last)
        return fmt::format("ordered: {} after {}", text(s), last);
      last = s.revision;
    }
  }
  return "";
}

std::string not_unique(const WatchRecord& record) {
  std::set<std::uint64_t> had;
  for (const auto& session : record.sessions) {
    if (!session.resumed) had.clear();  // a new list: what came before it does not count
    for (const auto& s : session.seen)
      if (is_event(s) && !had.insert(s.revision).second) return "unique: again " + text(s);
  }
  return "";
}

std::string not_filtered(const Truth& truth, const WatchRecord& record) {
  std::map<std::uint64_t, Seen> right;
  for (auto& s : expected(truth, record)) right[s.revision] = s;
  for (const auto& session : record.sessions)
    for (const auto& s : session.seen) {
      if (!is_event(s)) continue;
      auto it = right.find(s.revision);
      if (it == right.end()) return "filtered: not selected: " + text(s);
      if (it->second.type != s.type || it->second.name != s.name || it->second.data != s.data)
        return fmt::format("filtered: {} should be {}", text(s), text(it->second));
    }
  return "";
}

std::string not_reliable(const Truth& truth, const WatchRecord& record) {
  auto right = expected(truth, record);
  for (const auto& session : record.sessions) {
    std::set<std::uint64_t> had;
    for (const auto& s : session.seen) had.insert(s.revision);
    for (const auto& s : between(right, session.from, session.reached()))
      if (!had.contains(s.revision)) return "reliable: missing " + text(s);
  }
  return "";
}

std::string not_resumed(const Truth& truth, const WatchRecord& record) {
  auto right = expected(truth, record);
  for (std::size_t i = 0; i < record.sessions.size(); ++i) {
    const auto& session = record.sessions[i];
    if (!session.resumed) continue;
    if (i == 0 || record.sessions[i - 1].reached() != session.from)
      return fmt::format("resumable: a session goes on at {}", session.from);
    auto first = std::find_if(session.seen.begin(), session.seen.end(), is_event);
    if (first == session.seen.end()) continue;
    auto wanted = std::find_if(right.begin(), right.end(), [&](const Seen& s) { return s.revision > session.from; });
    if (wanted == right.end() || wanted->revision != first->revision)
      return fmt::format("resumable: {} is the first after {}", text(*first), session.from);
  }
  return "";
}

std::string not_atomic(const Truth& truth, const WatchRecord& record) {
  std::map<std::uint64_t, std::uint64_t> transaction;
  for (const auto& w : truth) transaction[w.revision] = w.transaction;
  for (const auto& session : record.sessions) {
    std::map<std::uint64_t, std::uint64_t> delivery;  // of each transaction
    for (const auto& s : session.seen) {
      if (!is_event(s)) continue;
      auto [it, fresh] = delivery.emplace(transaction[s.revision], s.delivery);
      if (!fresh && it->second != s.delivery) return "atomic: came later than the rest: " + text(s);
    }
  }
  return "";
}

std::string not_bookmarked(const Truth& truth, const WatchRecord& record) {
  auto right = expected(truth, record);
  for (const auto& session : record.sessions) {
    std::set<std::uint64_t> had;
    std::uint64_t mark = 0;
    for (const auto& s : session.seen) {
      if (is_event(s) && s.revision <= mark) return fmt::format("bookmarkable: {} after bookmark {}", text(s), mark);
      if (is_event(s)) had.insert(s.revision);
      if (is_event(s)) continue;
      mark = s.revision;
      for (const auto& wanted : between(right, session.from, mark))
        if (!had.contains(wanted.revision)) return fmt::format("bookmarkable: {} before {}", mark, text(wanted));
    }
  }
  return "";
}

std::string violations(const Truth& truth, const WatchRecord& record) {
  for (const auto& wrong :
       {not_ordered(record), not_unique(record), not_filtered(truth, record), not_reliable(truth, record),
        not_resumed(truth, record), not_atomic(truth, record), not_bookmarked(truth, record)})
    if (!wrong.empty()) return wrong;
  std::map<std::string, std::string> shown, right;
  std::uint64_t until = 0;
  for (const auto& session : record.sessions) {
    if (!session.resumed) shown = session.listed;
    until = session.reached();
    for (const auto& s : session.seen) {
      if (s.type == "DELETED") shown.erase(s.name);
      if (s.type == "ADDED" || s.type == "MODIFIED") shown[s.name] = s.data;
    }
  }
  for (const auto& s : between(expected(truth, record), 0, until)) {
    if (s.type == "DELETED")
      right.erase(s.name);
    else
      right[s.name] = s.data;
  }
  return shown == right ? "" : fmt::format("what was shown by {} is not what was there", until);
}

}  // namespace trama::test
