// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/async/worker.h"

#include <pthread.h>

namespace trama::async {

Worker::Worker(const std::string& thread_name) : guard_(context_.get_executor()) {
  thread_ = std::thread([this, thread_name] {
    pthread_setname_np(pthread_self(), thread_name.substr(0, 15).c_str());
    context_.run();
  });
}

Worker::~Worker() {
  guard_.reset();
  thread_.join();
}

}  // namespace trama::async
