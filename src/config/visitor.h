// How configuration structs name their keys.
//
// A struct has one member function `void Visit(ConfigVisitor& v)` that lists its keys, each with
// its variable, and states what must hold. That list is the only one: reading YAML, writing the
// resolved config, the key table of the documentation and the hash of a run all walk it. The member
// initialisers are the defaults.
//
//   struct OptimConfig {
//     double lr = 3e-4;
//     std::string schedule = "cosine";
//     void Visit(ConfigVisitor& v) {
//       v.Field("lr", lr, "peak learning rate");
//       v.Require(lr > 0, "must be > 0");
//       v.Choice("schedule", schedule, {"cosine", "linear"}, "shape of the learning rate");
//     }
//   };
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "config/value.h"

namespace ckv {

class ConfigVisitor {
 public:
  virtual ~ConfigVisitor() = default;

  // A key of the section being visited. `help` is one line, without a full stop. Reading leaves the
  // variable as it is when the key is absent; an integer is accepted for a double.
  virtual void Field(const char* key, bool& value, const char* help) = 0;
  virtual void Field(const char* key, int64_t& value, const char* help) = 0;
  virtual void Field(const char* key, double& value, const char* help) = 0;
  virtual void Field(const char* key, std::string& value, const char* help) = 0;
  virtual void Field(const char* key, std::optional<int64_t>& value, const char* help) = 0;
  virtual void Field(const char* key, std::optional<double>& value, const char* help) = 0;
  virtual void Field(const char* key, std::vector<int64_t>& value, const char* help) = 0;
  virtual void Field(const char* key, std::vector<double>& value, const char* help) = 0;
  virtual void Field(const char* key, std::vector<std::string>& value, const char* help) = 0;
  // Any YAML value, kept as it is with its origin.
  virtual void Field(const char* key, ConfigValue& value, const char* help) = 0;

  // A string that must be one of `choices`.
  virtual void Choice(const char* key, std::string& value, const std::vector<std::string>& choices,
                      const char* help) = 0;

  // States a condition on the key named last; when reading, throws ConfigError at that key's place
  // ("a.yaml:12:7: 'train.optim.lr' is -1, but must be > 0") unless `holds`.
  virtual void Require(bool holds, const std::string& what) = 0;

  // A nested struct.
  template <typename T>
  void Section(const char* key, T& section, const char* help) {
    if (!BeginSection(key, help)) return;
    section.Visit(*this);
    EndSection();
  }

  // A list of structs. Reading replaces the whole list.
  template <typename T>
  void List(const char* key, std::vector<T>& items, const char* help) {
    const int64_t size = BeginList(key, static_cast<int64_t>(items.size()), help);
    if (ReplacesItems()) items.clear();
    items.resize(static_cast<size_t>(size));
    for (int64_t i = 0; i < size; ++i) {
      BeginItem(i);
      items[static_cast<size_t>(i)].Visit(*this);
      EndItem();
    }
    EndList();
  }

 protected:
  // Returns false to skip the section.
  virtual bool BeginSection(const char* key, const char* help) = 0;
  virtual void EndSection() = 0;
  // Returns the number of items to visit, given how many the variable holds.
  virtual int64_t BeginList(const char* key, int64_t size, const char* help) = 0;
  // Asked after BeginList: true if the items come from outside, so that none of them starts from
  // what the variable held.
  virtual bool ReplacesItems() const { return false; }
  virtual void BeginItem(int64_t index) = 0;
  virtual void EndItem() = 0;
  virtual void EndList() = 0;
};

}  // namespace ckv
