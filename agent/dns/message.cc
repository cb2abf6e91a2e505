// SPDX-License-Identifier: GPL-2.0-or-later
#include "agent/dns/message.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>

#include <arpa/inet.h>
#include <ldns/ldns.h>

#include "base/c_ptr.h"
#include "base/text.h"

namespace trama::agent::dns {

namespace {

using Packet = base::CPtr<ldns_pkt, ldns_pkt_free>;
using Rr = base::CPtr<ldns_rr, ldns_rr_free>;
constexpr std::size_t kHeader = 12;
constexpr std::uint16_t kOurUdpSize = 1232;

base::Error failed(const char* what, ldns_status status) {
  return base::Error::text(fmt::format("{}: {}", what, ldns_get_errorstr_by_id(status)));
}

std::string text_of(const ldns_rdf* name) {
  base::CPtr<char, std::free> text(ldns_rdf2str(name));
  std::string out = text ? text.get() : "";
  if (!out.empty() && out.back() == '.') out.pop_back();
  return out;
}

// A name that cannot be written (a label of 64 bytes in an ExternalName) becomes nothing.
ldns_rdf* name_rdf(const std::string& name) { return ldns_dname_new_frm_str(name.empty() ? "." : name.c_str()); }
ldns_rdf* number_rdf(std::uint16_t value) { return ldns_native2rdf_int16(LDNS_RDF_TYPE_INT16, value); }
ldns_rdf* long_rdf(std::uint32_t value) { return ldns_native2rdf_int32(LDNS_RDF_TYPE_INT32, value); }
ldns_rdf* period_rdf(std::uint32_t value) { return ldns_native2rdf_int32(LDNS_RDF_TYPE_PERIOD, value); }

struct Fields {
  std::vector<ldns_rdf*> of;
  void operator()(const base::Ip& ip) {
    of = {ldns_rdf_new_frm_data(ip.is_v4() ? LDNS_RDF_TYPE_A : LDNS_RDF_TYPE_AAAA, ip.size(), ip.bytes().data())};
  }
  void operator()(const Target& target) { of = {name_rdf(target.name)}; }
  void operator()(const Place& place) {
    of = {number_rdf(place.priority), number_rdf(place.weight), number_rdf(place.port), name_rdf(place.target)};
  }
  void operator()(const Text& text) {
    auto size = std::min<std::size_t>(text.text.size(), 255);
    std::string bytes(1, static_cast<char>(size));
    bytes += text.text.substr(0, size);
    of = {ldns_rdf_new_frm_data(LDNS_RDF_TYPE_STR, bytes.size(), bytes.data())};
  }
  void operator()(const Authority& soa) {
    of = {name_rdf(soa.server), name_rdf(soa.mailbox), long_rdf(soa.serial),        period_rdf(7200),
          period_rdf(1800),     period_rdf(86400),     period_rdf(soa.negative_ttl)};
  }
};

Rr rr_of(const Record& record) {
  Fields fields;
  std::visit(fields, record.data);
  bool whole = std::find(fields.of.begin(), fields.of.end(), nullptr) == fields.of.end();
  auto* owner = name_rdf(record.name);
  Rr rr(ldns_rr_new());
  if (rr && owner) ldns_rr_set_owner(rr.get(), owner);
  for (auto* field : fields.of) {
    if (rr && whole)
      ldns_rr_push_rdf(rr.get(), field);
    else
      ldns_rdf_deep_free(field);
  }
  if (!rr || !owner || !whole) return nullptr;
  ldns_rr_set_ttl(rr.get(), record.ttl);
  ldns_rr_set_class(rr.get(), LDNS_RR_CLASS_IN);
  ldns_rr_set_type(rr.get(), static_cast<ldns_rr_type>(record.type));
  return rr;
}

Rr question_rr(const std::string& name, Type type) {
  auto* owner = name_rdf(name);
  if (!owner) return nullptr;
  Rr rr(ldns_rr_new());
  ldns_rr_set_owner(rr.get(), owner);
  ldns_rr_set_question(rr.get(), true);
  ldns_rr_set_class(rr.get(), LDNS_RR_CLASS_IN);
  ldns_rr_set_type(rr.get(), static_cast<ldns_rr_type>(type));
  return rr;
}

void push(ldns_pkt* packet, ldns_pkt_section section, Rr rr) {
  if (rr) ldns_pkt_push_rr(packet, section, rr.release());
}

Bytes bytes_of(const ldns_pkt* packet) {
  std::uint8_t* raw = nullptr;
  std::size_t size = 0;
  if (ldns_pkt2wire(&raw, packet, &size) != LDNS_STATUS_OK) return {};
  base::CPtr<std::uint8_t, std::free> owned(raw);
  return Bytes(raw, raw + size);
}

enum class Keep { all, answers, nothing };

Bytes write(const Query& query, const Answer& answer, Keep keep) {
  Packet packet(ldns_pkt_new());
  ldns_pkt_set_id(packet.get(), query.id);
  ldns_pkt_set_qr(packet.get(), true);
  ldns_pkt_set_opcode(packet.get(), static_cast<ldns_pkt_opcode>(query.opcode));
  ldns_pkt_set_aa(packet.get(), answer.rcode == Rcode::ok || answer.rcode == Rcode::no_such_name);
  ldns_pkt_set_rd(packet.get(), query.recursion_desired);
  ldns_pkt_set_ra(packet.get(), true);
  ldns_pkt_set_rcode(packet.get(), static_cast<std::uint8_t>(answer.rcode));
  ldns_pkt_set_tc(packet.get(), keep == Keep::nothing);
  if (query.refusal != Rcode::format && query.refusal != Rcode::not_implemented)
    push(packet.get(), LDNS_SECTION_QUESTION, question_rr(query.asked, query.question.type));
  if (keep != Keep::nothing) {
    for (const auto& r : answer.answers) push(packet.get(), LDNS_SECTION_ANSWER, rr_of(r));
    for (const auto& r : answer.authority) push(packet.get(), LDNS_SECTION_AUTHORITY, rr_of(r));
  }
  if (keep == Keep::all)
    for (const auto& r : answer.additional) push(packet.get(), LDNS_SECTION_ADDITIONAL, rr_of(r));
  if (query.edns) ldns_pkt_set_edns_udp_size(packet.get(), kOurUdpSize);
  return bytes_of(packet.get());
}

std::uint16_t word_at(std::span<const std::uint8_t> bytes, std::size_t at) {
  return static_cast<std::uint16_t>(bytes[at] << 8 | bytes[at + 1]);
}

// The bytes of the first question, without regard to case; nothing when there is none.
std::string question_bytes(std::span<const std::uint8_t> message) {
  if (message.size() < kHeader || word_at(message, 4) != 1) return "";
  std::size_t at = kHeader;
  while (at < message.size() && message[at] != 0) {
    if (message[at] > 63) return "";
    at += message[at] + 1u;
  }
  if (at + 5 > message.size()) return "";
  auto question = message.subspan(kHeader, at + 5 - kHeader);
  return base::lower(std::string(question.begin(), question.end()));
}

}  // namespace

base::Result<Query> read_query(std::span<const std::uint8_t> message) {
  if (message.size() < kHeader) return base::Error::text("shorter than a DNS header");
  if (message[2] & 0x80) return base::Error::text("a reply, not a query");
  Query out;
  out.id = word_at(message, 0);
  out.recursion_desired = message[2] & 1;
  out.opcode = message[2] >> 3 & 15;
  if (out.opcode != LDNS_PACKET_QUERY) {
    out.refusal = Rcode::not_implemented;
    return out;
  }
  ldns_pkt* raw = nullptr;
  auto status = ldns_wire2pkt(&raw, message.data(), message.size());
  Packet packet(raw);
  if (status != LDNS_STATUS_OK || ldns_pkt_qdcount(packet.get()) != 1 || ldns_pkt_ancount(packet.get()) != 0) {
    out.refusal = Rcode::format;
    return out;
  }
  const auto* asked = ldns_rr_list_rr(ldns_pkt_question(packet.get()), 0);
  out.asked = text_of(ldns_rr_owner(asked));
  out.question.name = base::lower(out.asked);
  out.question.type = static_cast<Type>(ldns_rr_get_type(asked));
  out.edns = ldns_pkt_edns(packet.get());
  if (out.edns)
    out.udp_size = std::clamp<std::size_t>(ldns_pkt_edns_udp_size(packet.get()), kPlainUdp, kLargestUdpAnswer);
  if (ldns_rr_get_class(asked) != LDNS_RR_CLASS_IN) out.refusal = Rcode::refused;
  auto type = ldns_rr_get_type(asked);
  if (type == LDNS_RR_TYPE_AXFR || type == LDNS_RR_TYPE_IXFR) out.refusal = Rcode::refused;
  return out;
}

Bytes write_answer(const Query& query, const Answer& answer, std::size_t limit) {
  for (auto keep : {Keep::all, Keep::answers}) {
    auto out = write(query, answer, keep);
    if (!out.empty() && out.size() <= std::min(limit, kLargestMessage)) return out;
    if (answer.additional.empty()) break;
  }
  return write(query, answer, Keep::nothing);
}

Bytes write_question(std::uint16_t id, const Question& question) {
  Packet packet(ldns_pkt_new());
  ldns_pkt_set_id(packet.get(), id);
  ldns_pkt_set_rd(packet.get(), true);
  push(packet.get(), LDNS_SECTION_QUESTION, question_rr(question.name, question.type));
  ldns_pkt_set_edns_udp_size(packet.get(), kOurUdpSize);
  return bytes_of(packet.get());
}

base::Result<Answer> read_answer(std::span<const std::uint8_t> message) {
  ldns_pkt* raw = nullptr;
  auto status = ldns_wire2pkt(&raw, message.data(), message.size());
  Packet packet(raw);
  if (status != LDNS_STATUS_OK) return failed("DNS answer", status);
  Answer out;
  out.rcode = static_cast<Rcode>(ldns_pkt_get_rcode(packet.get()));
  const auto* list = ldns_pkt_answer(packet.get());
  for (std::size_t i = 0; i < ldns_rr_list_rr_count(list); ++i) {
    const auto* rr = ldns_rr_list_rr(list, i);
    Record record{
        base::lower(text_of(ldns_rr_owner(rr))), static_cast<Type>(ldns_rr_get_type(rr)), ldns_rr_ttl(rr), {}};
    const auto* field = ldns_rr_rd_count(rr) == 1 ? ldns_rr_rdf(rr, 0) : nullptr;
    if (!field) continue;
    if (record.type == Type::cname) {
      record.data = Target{base::lower(text_of(field))};
    } else if (record.type == Type::a || record.type == Type::aaaa) {
      auto ip = base::Ip::from_bytes(
          std::as_bytes(std::span(static_cast<const std::uint8_t*>(ldns_rdf_data(field)), ldns_rdf_size(field))));
      if (!ip) continue;
      record.data = *ip;
    } else {
      continue;
    }
    out.answers.push_back(std::move(record));
  }
  return out;
}

bool answers(std::span<const std::uint8_t> reply, std::span<const std::uint8_t> query) {
  if (reply.size() < kHeader || query.size() < kHeader || !(reply[2] & 0x80) || word_at(reply, 0) != word_at(query, 0))
    return false;
  // A server that could not even read the question may leave it out.
  if (word_at(reply, 4) == 0) return (reply[3] & 15) != 0;
  auto asked = question_bytes(query);
  return !asked.empty() && question_bytes(reply) == asked;
}

}  // namespace trama::agent::dns
