// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/netlink/exchange.h"

namespace trama::netlink {

Step Exchange::feed(const nlmsghdr& h, Bytes payload) {
  if (h.nlmsg_flags & NLM_F_DUMP_INTR) interrupted_ = true;
  switch (h.nlmsg_type) {
    case NLMSG_NOOP: return Incomplete{};
    case NLMSG_OVERRUN: return finish(-EOVERFLOW, {});
    case NLMSG_ERROR: {
      auto e = fixed_header<nlmsgerr>(payload);
      if (!e) return finish(-EBADMSG, "error message cut short");
      return finish(e->error, extended_ack(h, payload));
    }
    case NLMSG_DONE: return finish(fixed_header<std::int32_t>(payload).value_or(0), extended_ack(h, payload));
    default:
      if (h.nlmsg_type < NLMSG_MIN_TYPE) return Incomplete{};  // a control message of a later kernel
      reply_.push_back(Part{h.nlmsg_type, h.nlmsg_flags, {payload.begin(), payload.end()}});
      return Incomplete{};
  }
}

Step Exchange::finish(std::int32_t err, std::string_view detail) {
  if (interrupted_) return Interrupted{};
  if (err == 0) return Result<Reply>(std::move(reply_));
  // The kernel speaks negative errnos; anything else never comes from it and is not trusted as success.
  constexpr std::int32_t kHighestErrno = 4095;
  int positive = err < 0 && err >= -kHighestErrno ? -err : EBADMSG;
  return Result<Reply>(Error::from_errno(positive, detail.empty() ? what_ : fmt::format("{} ({})", what_, detail)));
}

std::string_view extended_ack(const nlmsghdr& h, Bytes payload) {
  if (!(h.nlmsg_flags & NLM_F_ACK_TLVS)) return {};
  std::size_t offset = sizeof(std::int32_t);  // DONE: the code, then the attributes
  if (h.nlmsg_type == NLMSG_ERROR) {
    auto e = fixed_header<nlmsgerr>(payload);
    if (!e) return {};
    offset = sizeof(nlmsgerr);
    if (!(h.nlmsg_flags & NLM_F_CAPPED)) {  // the whole request is echoed first
      if (e->msg.nlmsg_len < sizeof(nlmsghdr) || e->msg.nlmsg_len > payload.size()) return {};
      offset += NLMSG_ALIGN(e->msg.nlmsg_len) - sizeof(nlmsghdr);
    }
  }
  if (offset > payload.size()) return {};
  std::string_view sentence;
  (void)for_each_attribute(payload.subspan(offset), [&](const Attribute& a) {
    if (a.type != NLMSGERR_ATTR_MSG) return;
    auto* p = reinterpret_cast<const char*>(a.payload.data());
    sentence = std::string_view(p, a.payload.empty() ? 0 : strnlen(p, a.payload.size()));
  });
  return sentence;
}

}  // namespace trama::netlink
