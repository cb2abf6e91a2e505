// SPDX-License-Identifier: GPL-2.0-or-later
#include "overlay/peers/session.h"

namespace trama::overlay::peers {
namespace {

constexpr std::size_t kLongestGoodbye = 300;

// What others say ends up in logs.
std::string printable(std::string text) {
  if (text.size() > kLongestGoodbye) text.resize(kLongestGoodbye);
  for (char& c : text)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
  return text;
}

}  // namespace

std::uint64_t connection_id(const Hello& one, const Hello& other) { return one.connection ^ other.connection; }

Session::Session(Hello mine, std::string certified, Millis now)
    : mine_(std::move(mine)), certified_(std::move(certified)), began_(now), heard_(now), pinged_(now) {
  put(FrameType::hello, encode(mine_));
}

void Session::fail(std::vector<Event>& events, std::string why) {
  close(why);
  events.push_back(Closed{std::move(why), false});
}

void Session::close(const std::string& why) {
  if (closed_) return;
  Writer w;
  w.text(std::string_view(why).substr(0, kLongestGoodbye));
  put(FrameType::goodbye, w.take());
  closed_ = true;
}

std::optional<std::string> Session::take_hello(std::string_view body) {
  if (theirs_) return "a second hello";
  auto hello = parse_hello(body);
  if (!hello) return hello.error().to_string();
  if (hello->node != certified_)
    return fmt::format("it says that it is {}, its certificate that it is {}", hello->node, certified_);
  if (hello->uid == mine_.uid) return "this is ourselves";
  if (hello->node == mine_.node)
    return fmt::format("it is a second node named {}: of two machines with one identity one must join anew",
                       hello->node);
  if (!(hello->heard == mine_.mine) || !(hello->mine == mine_.heard))
    return "the greetings were changed on their way: somebody stands in between";
  theirs_ = std::move(*hello);
  return std::nullopt;
}

template <class What, class Parsed>
void Session::take(std::vector<Event>& events, Parsed parsed) {
  if (parsed)
    events.push_back(What{std::move(*parsed)});
  else
    fail(events, parsed.error().to_string());
}

std::vector<Session::Event> Session::receive(std::string_view bytes, Millis now) {
  std::vector<Event> events;
  if (closed_) return events;
  heard_ = now;
  reader_.feed(bytes);
  while (!closed_) {
    auto frame = reader_.next();
    if (!frame) {
      fail(events, frame.error().to_string());
      break;
    }
    if (!*frame) break;
    const auto& [type, body] = **frame;
    auto kind = static_cast<FrameType>(type);
    if (kind == FrameType::goodbye) {
      Reader r(body);
      closed_ = true;
      events.push_back(Closed{printable(r.text(kLongestGoodbye)), true});
    } else if (kind == FrameType::hello) {
      if (auto wrong = take_hello(body))
        fail(events, *wrong);
      else
        events.push_back(Established{});
    } else if (!theirs_) {
      fail(events, "it began without a hello");
    } else if (kind == FrameType::members) {
      take<Members>(events, parse_members(body));
    } else if (kind == FrameType::report) {
      take<Reported>(events, parse_report(body));
    } else if (kind == FrameType::ask) {
      take<Asked>(events, parse_asks(body));
    } else if (kind == FrameType::reach) {
      take<Reached>(events, parse_reaches(body));
    } else if (kind == FrameType::splice) {
      take<Spliced>(events, parse_splice(body));
    }  // pings need no answer: both sides send them
  }
  return events;
}

std::vector<Session::Event> Session::tick(Millis now) {
  std::vector<Event> events;
  if (closed_) return events;
  if (!theirs_ && now - began_ >= kPatience) {
    fail(events, fmt::format("no hello within {} s", kPatience.count() / 1000));
  } else if (now - heard_ >= kDead) {
    fail(events, fmt::format("nothing was heard for {} s", kDead.count() / 1000));
  } else if (now - pinged_ >= kPing) {
    pinged_ = now;
    put(FrameType::ping, "");
  }
  return events;
}

void Session::send_members(const std::vector<Member>& members) {
  if (closed_) return;
  for (const auto& body : encode_members(members)) put(FrameType::members, body);
}

void Session::send_report(const Report& report) {
  if (!closed_) put(FrameType::report, encode(report));
}

void Session::send(const std::vector<Ask>& asks) {
  if (!closed_) put(FrameType::ask, encode(asks));
}
void Session::send(const std::vector<Reach>& reaches) {
  if (!closed_) put(FrameType::reach, encode(reaches));
}
void Session::send(const Splice& splice) {
  if (!closed_) put(FrameType::splice, encode(splice));
}

}  // namespace trama::overlay::peers
