// ReadYaml, `--set` and ReadConfig: bad text gives ConfigError; what is read survives being written
// and read again.

#include "base/error.h"
#include "config/config.h"
#include "config/yaml_reader.h"
#include "config/yaml_writer.h"
#include "tests/config/sample_config.h"
#include "tests/fuzz/fuzz_target.h"

namespace {

void CheckRoundTrip(const ckv::ConfigValue& value) {
  const std::string written = ckv::FlowYaml(value);
  // Aliases written out may exceed what is read.
  if (written.size() > ckv::YamlLimits::kMaxBytes) return;
  ckv::FuzzCheck(ckv::ReadYaml(written, "again.yaml") == value, "reads back otherwise: " + written);
}

void CheckConfig(const ckv::ConfigValue& value) {
  ckv::SampleConfig config;
  ckv::ReadConfig(value, config);
  const std::string dump = ckv::DumpYaml(config, /*with_help=*/true);
  if (dump.size() > ckv::YamlLimits::kMaxBytes) return;
  ckv::SampleConfig again;
  try {
    ckv::ReadConfig(ckv::ReadYaml(dump, "dump.yaml"), again);
  } catch (const ckv::ConfigError& error) {
    ckv::FuzzCheck(false, std::string(error.what()) + "\n" + dump);
  }
  ckv::FuzzCheck(ckv::DiffConfigs(ckv::FlattenConfig(config), ckv::FlattenConfig(again)).empty(),
                 "the dump reads back otherwise: " + dump);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  ckv::ConfigValue value;
  try {
    value = ckv::ReadYaml(text, "fuzz.yaml");
  } catch (const ckv::ConfigError&) {
  }
  CheckRoundTrip(value);
  try {
    CheckConfig(value);
  } catch (const ckv::ConfigError&) {
  }
  try {
    ckv::ApplySet(value, text);
    CheckConfig(value);
  } catch (const ckv::ConfigError&) {
  }
  return 0;
}
