// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <map>
#include <utility>
#include <vector>

namespace trama::base {

// The difference between what we want and what is there. Ordered keys make it deterministic:
// the same inputs always give the same plan text.
template <class K, class V>
struct Delta {
  std::vector<std::pair<K, V>> create;
  std::vector<std::pair<K, V>> update;  // same key, wanted value
  std::vector<std::pair<K, V>> remove;  // the observed value: it addresses the kernel object
  bool empty() const { return create.empty() && update.empty() && remove.empty(); }
};

template <class K, class V>
Delta<K, V> diff(const std::map<K, V>& want, const std::map<K, V>& have) {
  Delta<K, V> d;
  auto w = want.begin();
  auto h = have.begin();
  while (w != want.end() || h != have.end()) {
    if (h == have.end() || (w != want.end() && w->first < h->first)) {
      d.create.push_back(*w++);
    } else if (w == want.end() || h->first < w->first) {
      d.remove.push_back(*h++);
    } else {
      if (!(w->second == h->second)) d.update.push_back(*w);
      ++w, ++h;
    }
  }
  return d;
}

}  // namespace trama::base
