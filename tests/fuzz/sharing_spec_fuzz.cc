// Sharing specs from text and from YAML: bad input gives ConfigError; what is read round-trips, and
// can be planned and drawn.

#include <optional>

#include "config/yaml_reader.h"
#include "sharing/parse_config.h"
#include "sharing/picture.h"
#include "sharing/plan.h"
#include "tests/fuzz/fuzz_target.h"

namespace {

void CheckSpec(const ckv::KvSharingSpec& spec) {
  const std::string text = spec.ToString();
  ckv::FuzzCheck(ckv::KvSharingSpec::Parse(text, spec.num_layers()) == spec,
                 "reads back otherwise: " + text);
  if (spec.symmetric()) {
    ckv::FuzzCheck(ckv::KvSharingSpec::ParseLayerTypes(text, spec.num_layers()) == spec,
                   "layer_types reads back otherwise: " + text);
  }
  if (spec.num_layers() > 64) return;  // long ones only cost time
  const ckv::IterationPlan plan(spec, 1, 2);
  int next = 0;
  for (const ckv::LayerGroup& group : plan.groups()) {
    ckv::FuzzCheck(group.start == next && group.stop > next, "groups leave a gap: " + text);
    next = group.stop;
  }
  ckv::FuzzCheck(next == spec.num_layers(), "groups end early: " + text);
  ckv::FuzzCheck(plan.Steps().size() == static_cast<size_t>(plan.num_steps()),
                 "steps miss: " + text);
  ckv::FuzzCheck(!ckv::SharingPicture(plan).empty() && !ckv::SharingSvg(plan, text).empty(),
                 "no picture: " + text);
  ckv::Warnings(spec);
}

template <typename Read>
void Try(Read read) {
  std::optional<ckv::KvSharingSpec> spec;
  try {
    spec = read();
  } catch (const ckv::ConfigError&) {
    return;
  }
  CheckSpec(*spec);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  Try([&] { return ckv::KvSharingSpec::Parse(text); });
  Try([&] { return ckv::KvSharingSpec::Parse(text, 8, "origin"); });
  Try([&] { return ckv::KvSharingSpec::ParseLayerTypes(text, 8); });
  ckv::ConfigValue value;
  try {
    value = ckv::ReadYaml(text, "fuzz.yaml");
  } catch (const ckv::ConfigError&) {
    return 0;
  }
  Try([&] { return ckv::ResolveSharing(value, std::nullopt).spec; });
  Try([&] { return ckv::ResolveSharing(value, 9).spec; });
  return 0;
}
