// A thread that waits for one key of the store and makes its value an event.
#include "end_watch.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <exception>

#include <fmt/format.h>

#include <gradus/core/error.h>

namespace gradus::run {
namespace {

Verdict this_launcher_is_gone(const Plan& plan) {
  return {1, -1, fmt::format("the launcher of node {} ({}) is gone", plan.node, plan.nodes[plan.node].host), true, ""};
}

}  // namespace

std::string end_key(const Plan& plan) { return fmt::format("end/{}", plan.round); }

Verdict lost_store(const std::exception& error) {
  return {1, -1, fmt::format("the first launcher of the job is gone ({})", error.what()), false, ""};
}

EndWatch::EndWatch(const Meeting& meeting, const Plan& plan)
    : plan_(plan), meeting_(meeting), store_(meeting.open_store()), event_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  store_->leave_will(end_key(plan), this_launcher_is_gone(plan).text());
  thread_ = std::thread([this] { wait(); });
}

EndWatch::~EndWatch() {
  if (!has_ended_) try {  // the attempt was left by an exception
      meeting_.open_store()->set_once(end_key(plan_), this_launcher_is_gone(plan_).text());
    } catch (const CommError&) {  // the store is gone: the thread notices, too
    }
  thread_.join();
  store_->close();
}

void EndWatch::wait() {
  for (bool waiting = true; waiting;) try {
      verdict_ = Verdict::parse(store_->get(end_key(plan_), 3600));
      waiting = false;
    } catch (const CommError& error) {
      waiting = error.kind == CommError::Kind::timeout;
      if (!waiting) verdict_ = lost_store(error);
    } catch (const std::exception& error) {
      verdict_ = lost_store(error);
      waiting = false;
    }
  has_ended_ = true;
  const uint64_t one = 1;
  (void)!::write(event_.get(), &one, sizeof one);
}

}  // namespace gradus::run
