// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <memory>

namespace trama::base {

template <auto Free>
struct CDelete {
  template <class T>
  void operator()(T* p) const noexcept {
    Free(p);
  }
};
// One line of ownership per C library object: using NlMsg = CPtr<nl_msg, nlmsg_free>.
template <class T, auto Free>
using CPtr = std::unique_ptr<T, CDelete<Free>>;

}  // namespace trama::base
