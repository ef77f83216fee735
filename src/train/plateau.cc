#include "train/plateau.h"

#include <nlohmann/json.hpp>

#include "base/error.h"

namespace ckv {

void PlateauConfig::Visit(ConfigVisitor& v) {
  v.Field("patience", patience, "more epochs than this without improvement lower the rate");
  v.Require(patience >= 0, "must be >= 0");
  v.Field("factor", factor, "by which the rate is multiplied then");
  v.Require(factor > 0 && factor < 1, "must be above 0 and below 1");
  v.Field("min_lr", min_lr, "a rate below this ends the run");
  v.Require(min_lr >= 0, "must be >= 0");
}

OrderedJson PlateauState::ToJson() const {
  OrderedJson json;
  json["lr_scale"] = lr_scale;
  json["bad"] = bad;
  if (has_best) {
    json["best_score"] = best_score;
    json["best_loss"] = best_loss;
  }
  json["stopped"] = stopped;
  return json;
}

PlateauState PlateauState::FromJson(const Json& json, const std::string& path) {
  PlateauState state;
  try {
    state.lr_scale = json.at("lr_scale").get<double>();
    state.bad = json.at("bad").get<int64_t>();
    state.stopped = json.at("stopped").get<bool>();
    state.has_best = json.contains("best_score");
    if (state.has_best) {
      state.best_score = json.at("best_score").get<double>();
      state.best_loss = json.at("best_loss").get<double>();
    }
  } catch (const nlohmann::json::exception&) {
    throw FormatError(path, "train.plateau", "is not the state of a learning rate");
  }
  return state;
}

bool UpdatePlateau(const PlateauConfig& config, double lr, double score, double loss,
                   PlateauState* state) {
  const bool better = !state->has_best || score > state->best_score ||
                      (score == state->best_score && loss < state->best_loss);
  if (better) {
    state->has_best = true;
    state->best_score = score;
    state->best_loss = loss;
    state->bad = 0;
  } else if (++state->bad > config.patience) {
    state->bad = 0;
    state->lr_scale *= config.factor;
    state->stopped = lr * state->lr_scale < config.min_lr;
  }
  return better;
}

}  // namespace ckv
