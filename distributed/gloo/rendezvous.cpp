// Our store in the clothes of Gloo's, with one deadline for all that is waited for.
#include <gradus/distributed/gloo/rendezvous.h>

#include <gloo/rendezvous/context.h>
#include <gloo/rendezvous/store.h>
#include <gloo/transport/tcp/device.h>

#include <chrono>
#include <string>
#include <vector>

#include <gradus/distributed/detail/deadline.h>

namespace gradus::dist::gloo_engine {
namespace {

class StoreForGloo final : public gloo::rendezvous::Store {
 public:
  StoreForGloo(dist::Store& store, double timeout) : store_(store), deadline_(timeout) {}

  void set(const std::string& key, const std::vector<char>& data) override {
    store_.set(key, std::string(data.begin(), data.end()));
  }
  std::vector<char> get(const std::string& key) override {
    const std::string value = store_.get(key, deadline_.left());
    return {value.begin(), value.end()};
  }
  void wait(const std::vector<std::string>& keys) override {
    for (const std::string& key : keys) get(key);
  }
  void wait(const std::vector<std::string>& keys, const std::chrono::milliseconds&) override { wait(keys); }

 private:
  dist::Store& store_;
  detail::Deadline deadline_;
};

}  // namespace

std::shared_ptr<gloo::Context> connect(const detail::Member& member, Store& store) {
  gloo::transport::tcp::attr where;
  where.hostname = member.address;  // else Gloo would take the host's name, which many machines map to loopback
  auto device = gloo::transport::tcp::CreateDevice(where);
  auto context = std::make_shared<gloo::rendezvous::Context>(member.rank, member.size);
  context->setTimeout(std::chrono::milliseconds(static_cast<int64_t>(member.timeout * 1000)));
  StoreForGloo for_gloo(store, member.timeout);
  context->connectFullMesh(for_gloo, device);
  return context;
}

}  // namespace gradus::dist::gloo_engine
