#include "data/story_world.h"

#include <algorithm>

namespace ckv {
namespace {

using Words = std::vector<std::string>;

const Words kGirls = {"Lily", "Mia",   "Anna",  "Sara", "Emma", "Lucy",  "Rosa",  "Zoe",
                      "Nina", "Ella",  "Maya",  "Kate", "Jane", "Ivy",   "Ruth",  "Nora",
                      "Amy",  "Clara", "Molly", "Tina", "Eva",  "Julia", "Sofia", "Alice"};
const Words kBoys = {"Tom",  "Ben",  "Max",  "Sam",  "Leo",   "Jack",  "Tim",   "Finn",
                     "Noah", "Luke", "Adam", "Hugo", "Oscar", "Peter", "Paul",  "Eli",
                     "Omar", "Theo", "Dan",  "Kai",  "Henry", "David", "Felix", "Simon"};
const Words kFemaleAnimals = {"Bella", "Daisy",  "Coco", "Poppy", "Luna",  "Hazel",
                              "Misty", "Clover", "Ruby", "Penny", "Willa", "Fern"};
const Words kMaleAnimals = {"Pip",   "Toby",    "Rusty",  "Bruno", "Milo", "Otto",
                            "Teddy", "Biscuit", "Buster", "Fuzz",  "Gus",  "Ziggy"};
const Words kSpecies = {"rabbit", "fox",      "bear", "mouse", "squirrel", "duck",
                        "frog",   "hedgehog", "goat", "pig",   "turtle",   "badger"};

const Words kToys = {"ball",       "kite",      "doll",         "toy car",   "toy boat",  "drum",
                     "teddy bear", "toy train", "spinning top", "jump rope", "toy robot", "puppet"};
const Words kTreasures = {"whistle", "hat",   "scarf",  "ring",      "book",
                          "bell",    "flute", "button", "shell",     "necklace",
                          "feather", "coin",  "cap",    "paint box", "music box"};
const Words kTools = {"rope", "basket", "bucket", "shovel",  "lamp",
                      "net",  "ladder", "hammer", "blanket", "wagon"};
const Words kFoods = {
    "apple",  "cake",          "cookie",          "sandwich",     "pie",
    "pear",   "orange",        "banana",          "muffin",       "pancake",
    "carrot", "loaf of bread", "bowl of berries", "jar of honey", "piece of cheese"};
const Words kColors = {"red",   "blue", "green",  "yellow", "purple", "white",
                       "brown", "pink", "orange", "golden", "silver", "black"};
const Words kSizes = {"little", "small", "big", "tiny", "new", "old", "shiny", "soft", "pretty"};

const std::vector<StoryPlace> kTownPlaces = {
    {"the park",
     "in the park",
     "to the park",
     {"under the bench", "behind the big tree", "near the fountain", "in the tall grass"}},
    {"the garden",
     "in the garden",
     "to the garden",
     {"under the apple tree", "behind the shed", "between the flowers", "next to the well"}},
    {"the beach",
     "at the beach",
     "to the beach",
     {"behind a rock", "next to the old boat", "in the sand", "under a towel"}},
    {"the playground",
     "at the playground",
     "to the playground",
     {"under the slide", "next to the swings", "in the sandbox", "behind the fence"}},
    {"the market",
     "at the market",
     "to the market",
     {"under a table", "behind the fruit stand", "next to the flower shop", "by the gate"}},
    {"the farm",
     "at the farm",
     "to the farm",
     {"in the hay", "behind the barn", "next to the pond", "under the old cart"}},
    {"the lake",
     "by the lake",
     "to the lake",
     {"under the bridge", "behind a bush", "next to the pier", "in the reeds"}},
    {"the library",
     "at the library",
     "to the library",
     {"under a chair", "between two big books", "next to the window", "behind the shelf"},
     false,
     true},
    {"the hill",
     "on the hill",
     "to the hill",
     {"behind the stone wall", "under the lonely tree", "in the high grass", "next to the path"}},
    {"the zoo",
     "at the zoo",
     "to the zoo",
     {"on a bench", "near the monkeys", "next to the bird house", "by the gate"}},
    {"the forest",
     "in the forest",
     "to the forest",
     {"under an old log", "behind a rock", "in a hollow tree", "at the foot of an oak tree"},
     true},
    {"the woods",
     "in the woods",
     "to the woods",
     {"under a pine tree", "next to the path", "behind a bush", "on a flat stone"},
     true},
};
const std::vector<StoryPlace> kWoodPlaces = {
    {"the forest",
     "in the forest",
     "to the forest",
     {"under an old log", "behind a rock", "in a hollow tree", "at the foot of the oak tree"},
     true},
    {"the river",
     "by the river",
     "to the river",
     {"under the bridge", "between two stones", "in the reeds", "behind a bush"},
     true},
    {"the meadow",
     "in the meadow",
     "to the meadow",
     {"in the tall grass", "between the flowers", "behind the stone wall", "next to the path"},
     true},
    {"the pond",
     "at the pond",
     "to the pond",
     {"under a big leaf", "next to the old boat", "behind the reeds", "on a flat stone"}},
    {"the hill",
     "on the hill",
     "to the hill",
     {"behind a rock", "under the lonely tree", "in the high grass", "next to the path"}},
    {"the old mill",
     "at the old mill",
     "to the old mill",
     {"behind the wheel", "under the stairs", "next to the door", "in the hay"}},
    {"the berry bushes",
     "near the berry bushes",
     "to the berry bushes",
     {"under the leaves", "behind a bush", "between the roots", "next to the fence"}},
};
const StoryPlace kHouse = {
    "the house",
    "at home",
    "home",
    {"under the bed", "behind the sofa", "on the kitchen table", "in the cupboard", "by the door",
     "under a pillow", "behind the curtain", "in the big basket"}};
const StoryPlace kDen = {
    "the den",
    "at home",
    "home",
    {"under the bed", "behind the door", "on the kitchen table", "in the cupboard",
     "under a pillow", "in the big basket", "next to the stove"}};

const std::vector<StoryWeather> kWeathers = {
    {"sunny",
     {"sunny", "bright", "warm"},
     {"The sun was shining and the sky was blue.", "The birds were singing in the trees.",
      "There was not one cloud in the sky.", "It was a lovely day."}},
    {"rainy",
     {"rainy", "wet", "gray"},
     {"The rain fell on the roofs and the trees.", "The rain made little rivers on the ground.",
      "Big drops of rain fell from the sky."}},
    {"windy",
     {"windy", "cool", "fresh"},
     {"The wind blew the leaves across the ground.", "The wind was strong and it shook the trees.",
      "A cool wind blew from the hills."}},
    {"snowy",
     {"snowy", "cold", "frosty"},
     {"The snow was deep and everything was white.", "White snow lay on the ground.",
      "Soft snow fell from the sky."}},
    {"cloudy",
     {"cloudy", "quiet", "gray"},
     {"The sky was full of gray clouds.", "The clouds were low and the air was still."}},
};

}  // namespace

std::string WithArticle(const std::string& words) {
  static const std::string kVowels = "aeiou";
  const bool vowel = kVowels.find(words[0]) != std::string::npos;
  return (vowel ? "an " : "a ") + words;
}

std::string StoryWorld::NewName(bool female) {
  const Words& names =
      animals_ ? (female ? kFemaleAnimals : kMaleAnimals) : (female ? kGirls : kBoys);
  while (true) {
    const std::string& name = Pick(names);
    if (std::find(used_.begin(), used_.end(), name) != used_.end()) continue;
    used_.push_back(name);
    return name;
  }
}

StoryPerson StoryWorld::NewChild() {
  bool female = Chance(0.5);
  if (num_children_ == 0) first_child_female_ = female;
  if (num_children_ == 1) female = Chance(0.8) ? !first_child_female_ : first_child_female_;
  ++num_children_;
  return {NewName(female), animals_ ? Pick(kSpecies) : (female ? "girl" : "boy"), female};
}

StoryPerson StoryWorld::NewRelative() {
  static const std::vector<StoryPerson> kRelatives = {{"Mom", "mother", true},
                                                      {"Dad", "father", false},
                                                      {"Grandma", "grandmother", true},
                                                      {"Grandpa", "grandfather", false}};
  return Pick(kRelatives);
}

StoryPerson StoryWorld::NewHelper() {
  static const std::vector<StoryPerson> kTownHelpers = {
      {"the baker", "baker", false},
      {"the farmer", "farmer", false},
      {"the teacher", "teacher", true},
      {"the gardener", "gardener", true},
      {"the old sailor", "sailor", false},
      {"the mail carrier", "mail carrier", true},
      {"the police officer", "police officer", false},
      {"the painter", "painter", true},
      {"the fisherman", "fisherman", false},
      {"the shopkeeper", "shopkeeper", true}};
  static const std::vector<StoryPerson> kWoodHelpers = {
      {"the old owl", "owl", true},        {"the wise crow", "crow", false},
      {"the big moose", "moose", false},   {"the gray goose", "goose", true},
      {"the old beaver", "beaver", false}, {"the kind deer", "deer", true}};
  return Pick(animals_ ? kWoodHelpers : kTownHelpers);
}

StoryPerson StoryWorld::NewPet() {
  static const Words kPets = {"dog", "cat", "puppy", "kitten", "pony", "parrot"};
  static const Words kSmallPets = {"ladybug", "snail", "beetle", "chick", "butterfly"};
  const bool female = Chance(0.5);
  while (true) {
    const std::string& name = Pick(female ? kFemaleAnimals : kMaleAnimals);
    if (std::find(used_.begin(), used_.end(), name) != used_.end()) continue;
    used_.push_back(name);
    return {name, Pick(animals_ ? kSmallPets : kPets), female};
  }
}

StoryThing StoryWorld::Adorn(const std::string& noun) {
  const double draw = random_->Uniform();
  std::string label = noun;
  if (draw < 0.75) label = Pick(kColors) + " " + label;
  if (draw < 0.25 || draw >= 0.75) label = Pick(kSizes) + " " + label;
  return {noun, label};
}

StoryThing StoryWorld::NewToy() { return Adorn(Pick(kToys)); }
StoryThing StoryWorld::NewTreasure() { return Adorn(Pick(kTreasures)); }

StoryThing StoryWorld::NewTool() {
  const std::string& noun = Pick(kTools);
  const std::string label = Pick(Words{"", "long ", "big ", "old ", "strong ", "good "}) + noun;
  return {noun, label};
}

StoryThing StoryWorld::NewFood() {
  const std::string& noun = Pick(kFoods);
  const std::string label = Pick(Words{"", "big ", "sweet ", "fresh ", ""}) + noun;
  return {noun, label};
}

StoryPlace StoryWorld::NewPlace() { return Pick(animals_ ? kWoodPlaces : kTownPlaces); }

StoryPlace StoryWorld::NewOpenPlace() {
  while (true) {
    StoryPlace place = NewPlace();
    if (!place.indoor) return place;
  }
}

StoryPlace StoryWorld::NewWildPlace() {
  while (true) {
    StoryPlace place = NewPlace();
    if (place.wild) return place;
  }
}

StoryPlace StoryWorld::Home() const { return animals_ ? kDen : kHouse; }

const StoryWeather& StoryWorld::NewWeather() {
  const double draw = random_->Uniform();
  return kWeathers[draw < 0.45 ? 0 : draw < 0.6 ? 1 : draw < 0.75 ? 2 : draw < 0.85 ? 3 : 4];
}

const StoryWeather& StoryWorld::Weather(const std::string& kind) const {
  for (const StoryWeather& weather : kWeathers) {
    if (weather.kind == kind) return weather;
  }
  CKV_CHECK(false, "no weather ", kind);
  return kWeathers[0];
}

}  // namespace ckv
