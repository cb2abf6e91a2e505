// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/controllers/job_loop.h"

#include "control/loops/deletion.h"
#include "control/store/writes.h"

namespace trama::control {

using base::Result;
using Type = store::Event::Type;

namespace {

const char* kComponent = "job-controller";
constexpr char kPod = '!';  // begins the queue keys of pods, which no namespace does

}  // namespace

JobLoop::JobLoop(async::asio::any_io_executor ex, store::Store& store, EventRecorder& events, JobOptions options,
                 std::uint64_t seed)
    : store_(store),
      events_(events),
      options_(options),
      random_(seed),
      loop_(std::move(ex), store, {.name = "job"},
            {{"pods", [this](const store::Event& e) { pod_seen(e); }, [this] { pods_.forget_pods(); }},
             {"jobs", [this](const store::Event& e) { job_seen(e); }, [this] { pods_.forget_owners(); }}},
            [this](std::string key) { return handle(std::move(key)); }) {}

void JobLoop::job_seen(const store::Event& e) {
  pods_.owner_seen(e);
  if (e.type != Type::deleted) {
    loop_.enqueue(queue_key(e.object->key));
    return;
  }
  for (const auto& pod : pods_.of(*e.object, store_))
    if (is_abandoned(*pod)) loop_.enqueue(kPod + queue_key(pod->key));
}

void JobLoop::pod_seen(const store::Event& e) {
  for (const auto& owner : pods_.pod_seen(e)) loop_.enqueue(owner);
  if (e.type != Type::deleted && is_abandoned(*e.object)) loop_.enqueue(kPod + queue_key(e.object->key));
}

bool JobLoop::is_abandoned(const api::Object& pod) const {
  if (!has_finalizer(pod.body, kJobTracking)) return false;
  const auto* owner = controller_of(pod.body);
  if (owner == nullptr || api::text_at(*owner, "kind") != "Job") return true;
  auto job = store_.get(from_queue_key("jobs", pod.key.ns + "/" + api::text_at(*owner, "name")));
  return !job || job->uid != api::text_at(*owner, "uid");
}

awaitable<Result<>> JobLoop::handle(std::string key) {
  if (key.front() == kPod) co_return co_await let_go(key.substr(1));
  co_return co_await settle(std::move(key));
}

awaitable<Result<>> JobLoop::let_go(std::string key) {
  auto pod = store_.get(from_queue_key("pods", key));
  if (!pod || !is_abandoned(*pod)) co_return Result<>();
  store::Decision decide = [&](store::Transaction& tx) -> api::Answer<api::ObjectPtr> {
    if (!unchanged(tx, pod->key, pod->revision)) return api::Status::conflict(pod->key, "it has changed");
    auto body = pod->body;
    remove_finalizer(body, kJobTracking);
    return put_or_finish(tx, pod->key, std::move(body));
  };
  auto done = co_await write(store_, std::move(decide));
  if (!done) co_return std::move(done).error();
  co_return Result<>();
}

awaitable<Result<>> JobLoop::expire(api::ObjectPtr job) {
  auto now = std::chrono::system_clock::now();
  store::Decision decide = [&](store::Transaction& tx) -> api::Answer<api::ObjectPtr> {
    api::DeleteOptions options;
    options.uid = job->uid;
    options.resource_version = std::to_string(job->revision);
    options.propagation = "Foreground";
    return store::remove(tx, *api::kind_of_resource("jobs"), job->key, options, now);
  };
  auto done = co_await write(store_, std::move(decide));
  if (!done) co_return std::move(done).error();
  co_return Result<>();
}

awaitable<Result<>> JobLoop::settle(std::string key) {
  auto where = from_queue_key("jobs", key);
  auto job = store_.get(where);
  if (!job) co_return Result<>();
  auto begin = std::chrono::steady_clock::now();
  auto now = std::chrono::system_clock::now();
  auto plan = plan_job(*job, pods_.of(*job, store_), options_, now);
  loop_.took(key, std::chrono::steady_clock::now() - begin);
  if (plan.look_again)
    loop_.enqueue_after(key, std::chrono::duration_cast<milliseconds>(*plan.look_again - now) + milliseconds(5));
  if (plan.expired) co_return co_await expire(job);
  bool idle = plan.create.empty();
  for (const auto* list : {&plan.adopt, &plan.release, &plan.count, &plan.remove, &plan.end}) idle &= list->empty();
  if (idle && json::value(plan.status) == json::value(api::object_at(job->body, "status"))) co_return Result<>();
  std::vector<api::ObjectPtr> created;
  store::Decision decide = [&](store::Transaction& tx) {
    created.clear();
    return carry_out(tx, *job, plan, now, created);
  };
  auto done = co_await write(store_, std::move(decide));
  if (!done) {
    PodEvents(events_, kComponent).failed(*job, done.error());
    co_return std::move(done).error();
  }
  for (const auto& pod : created) pods_.created(*job, pod->key);
  tell(*job, plan, created);
  co_return Result<>();
}

api::Answer<api::ObjectPtr> JobLoop::carry_out(store::Transaction& tx, const api::Object& job, const JobPlan& plan,
                                               Time now, std::vector<api::ObjectPtr>& created) {
  if (!unchanged(tx, job.key, job.revision)) return api::Status::conflict(job.key, "it has changed");
  if (auto refused = write_claims(tx, job, plan.adopt, plan.release, kJobTracking)) return *refused;
  for (const auto* list : {&plan.count, &plan.remove, &plan.end})
    for (const auto& pod : *list)
      if (!unchanged(tx, pod->key, pod->revision)) return api::Status::conflict(pod->key, "it has changed");
  for (const auto* list : {&plan.count, &plan.remove})
    for (const auto& pod : *list) {
      auto body = pod->body;
      if (remove_finalizer(body, kJobTracking)) put_or_finish(tx, pod->key, std::move(body));
    }
  for (const auto* list : {&plan.remove, &plan.end})
    for (const auto& pod : *list) begin_delete(tx, pod->key, now);
  for (const auto& index : plan.create) {
    auto pod = create_pod(tx, job.key.ns, job_pod_prefix(job, index), random_, job_pod(job, index), now);
    if (!pod) return pod.error();
    created.push_back(*pod);
  }
  auto body = job.body;
  body["status"] = plan.status;
  return tx.put(job.key, std::move(body));
}

void JobLoop::tell(const api::Object& job, const JobPlan& plan, const std::vector<api::ObjectPtr>& created) {
  PodEvents said(events_, kComponent);
  said.created(job, created);
  said.deleted(job, plan.remove);
  said.deleted(job, plan.end);
  for (const auto& note : plan.notes) events_.record(job, note.type, note.reason, note.message, kComponent);
}

}  // namespace trama::control
