// Names of things.
#include <gradus/data/detail/checkpoint_things.h>

#include <algorithm>

#include <gradus/core/detail/check.h>
#include <gradus/core/random.h>

namespace gradus::data::detail {

std::vector<NamedThing> name_things(std::vector<Stateful*> things) {
  Generator& generator = default_generator();
  if (std::find(things.begin(), things.end(), &generator) == things.end()) things.push_back(&generator);
  std::vector<NamedThing> named;
  for (Stateful* thing : things) {
    const std::string kind = thing->state_name();
    const auto twins = std::count_if(named.begin(), named.end(),
                                     [&](const NamedThing& other) { return kind == other.thing->state_name(); });
    named.push_back(
        {twins ? fmt::format("{}.{}", kind, twins) : kind, thing, dynamic_cast<Generator*>(thing) != nullptr});
  }
  return named;
}

}  // namespace gradus::data::detail
