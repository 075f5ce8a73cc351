// Looking at heartbeats, and comparing them with those of other machines. Keys: pulse/R/NODE, silent/R (how many ranks
// have been silent for long).
#include "hang_watch.h"

#include <algorithm>
#include <limits>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace gradus::run {
namespace {

/// Ahead of all: no rank of this machine beats.
constexpr int64_t no_rank = std::numeric_limits<int64_t>::max();

const Worker* slowest_of(const std::vector<Worker>& workers) {
  const Worker* slowest = nullptr;
  for (const Worker& worker : workers)
    if (worker.is_running() && worker.pulse().has_begun() && (!slowest || worker.pulse().is_behind(slowest->pulse())))
      slowest = &worker;
  return slowest;
}

}  // namespace

HangWatch::HangWatch(const Options& options, const Plan& plan, dist::Store& store)
    : limit_(options.heartbeat), plan_(plan), store_(store), told_{no_rank, 0} {}

std::string HangWatch::Standing::text() const { return nlohmann::json{step, place}.dump(); }
std::optional<HangWatch::Standing> HangWatch::Standing::parse(const std::string& text) {
  const auto json = nlohmann::json::parse(text, nullptr, false);
  if (!json.is_array() || json.size() != 2 || !json[0].is_number_integer() || !json[1].is_number_integer()) return {};
  return Standing{json[0], json[1]};
}

std::string HangWatch::key(size_t node) const { return fmt::format("pulse/{}/{}", plan_.round, node); }

std::optional<HangWatch::Hang> HangWatch::look(const std::vector<Worker>& workers) {
  if (limit_ <= 0) return {};
  const Worker* const worker = slowest_of(workers);
  const double silence = worker ? worker->pulse().silence() : 0;
  const int halves = silence > limit_ ? 2 : silence > limit_ / 2 ? 1 : 0;
  const bool is_news = halves != halves_seen_ || next_word_.passed();
  if (plan_.nodes.size() > 1 && is_news) {
    tell(worker, halves > 0);
    next_word_ = dist::detail::Deadline(limit_ / 8);
  }
  halves_seen_ = halves;
  halves_told_ = std::min(halves_told_, halves);
  if (halves == halves_told_ || !is_news || !is_behind_all()) return {};
  halves_told_ = halves;
  const bool others_wait = plan_.nodes.size() > 1 ||
                           std::any_of(workers.begin(), workers.end(),
                                       [&](const Worker& other) { return &other != worker && other.is_running(); });
  return Hang{*worker,
              fmt::format("rank {}: {} for {:.0f} s{}{}", worker->rank(), worker->pulse().text(), silence,
                          worker->is_stopped() ? " (the process is stopped)" : "", others_wait ? ", others wait" : ""),
              halves == 2};
}

void HangWatch::tell(const Worker* worker, bool is_silent) {
  Standing now{worker ? worker->pulse().step() : no_rank, 0};
  if (is_silent) now.place = worker == silent_ ? told_.place : store_.add(fmt::format("silent/{}", plan_.round), 1);
  silent_ = is_silent ? worker : nullptr;
  if (now == told_) return;
  store_.set(key(plan_.node), now.text());
  told_ = now;
}

/// What others told may be old, but ranks only go on: who seems to be ahead is; who seems to be behind may have told
/// more when this is asked again.
bool HangWatch::is_behind_all() const {
  for (size_t node = 0; node < plan_.nodes.size(); ++node) {
    const auto text = node == plan_.node ? std::nullopt : store_.find(key(node));
    const auto other = text ? Standing::parse(*text) : std::nullopt;
    if (!other) continue;
    if (other->step < told_.step) return false;
    if (other->step == told_.step && other->place != 0 && other->place < told_.place) return false;
  }
  return true;
}

double HangWatch::next_look(const std::vector<Worker>& workers) const {
  if (limit_ <= 0) return 3600;
  const Worker* const worker = slowest_of(workers);
  const double half_left = worker ? limit_ / 2 - worker->pulse().silence() : 0;
  const double pause = std::min(1.0, limit_ / 8);
  return half_left > 0 ? std::min(pause, half_left) : pause;
}

}  // namespace gradus::run
