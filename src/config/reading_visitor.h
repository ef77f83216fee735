// The visitor behind ReadConfig.
#pragma once

#include <string>
#include <vector>

#include "config/visitor.h"

namespace ckv {

class ReadingVisitor : public ConfigVisitor {
 public:
  // `name` is the dotted key of `tree`, "" for a whole config.
  ReadingVisitor(const ConfigValue& tree, const std::string& name);

  // To be called after the struct's Visit: refuses keys that it did not name.
  void Finish();

  void Field(const char* key, bool& value, const char* help) override;
  void Field(const char* key, int64_t& value, const char* help) override;
  void Field(const char* key, double& value, const char* help) override;
  void Field(const char* key, std::string& value, const char* help) override;
  void Field(const char* key, std::optional<int64_t>& value, const char* help) override;
  void Field(const char* key, std::optional<double>& value, const char* help) override;
  void Field(const char* key, std::vector<int64_t>& value, const char* help) override;
  void Field(const char* key, std::vector<double>& value, const char* help) override;
  void Field(const char* key, std::vector<std::string>& value, const char* help) override;
  void Field(const char* key, ConfigValue& value, const char* help) override;
  void Choice(const char* key, std::string& value, const std::vector<std::string>& choices,
              const char* help) override;
  void Require(bool holds, const std::string& what) override;

 protected:
  bool BeginSection(const char* key, const char* help) override;
  void EndSection() override;
  int64_t BeginList(const char* key, int64_t size, const char* help) override;
  bool ReplacesItems() const override;
  void BeginItem(int64_t index) override;
  void EndItem() override;
  void EndList() override;

 private:
  // A section, list or item that is being visited; its node is nullptr if the tree lacks it.
  struct Frame {
    const ConfigValue* node;
    std::string name;
    std::vector<std::string> known;
  };

  // The key that Require speaks of.
  struct Named {
    std::string name;
    std::string origin;
    std::string text;  // YAML; empty for sections and lists of structs
  };

  // Where `node` stands; the config's file if the tree lacks it.
  std::string PlaceOf(const ConfigValue* node) const;
  const ConfigValue* Enter(const char* key);
  const ConfigValue* EnterNotNull(const char* key);
  template <typename Value, typename Convert>
  void ReadScalar(const char* key, Value& value, Convert convert);
  template <typename Value, typename Convert>
  void ReadOptional(const char* key, std::optional<Value>& value, Convert convert);
  template <typename Value, typename Convert>
  void ReadList(const char* key, std::vector<Value>& value, const char* must, Convert convert);
  void CheckKeys(const Frame& frame) const;
  void PopFrame();

  std::vector<Frame> frames_;
  std::string file_;  // of the tree; empty if it is from no file
  Named last_;
};

}  // namespace ckv
