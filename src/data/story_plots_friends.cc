// Plans about friends: sharing, surprises, searching and helping.
#include <string>
#include <vector>

#include "base/str.h"
#include "data/story_plots.h"

namespace ckv {

// One shares food; later the other shares what is needed in the rain or cold.
void TellSharing(StoryTelling& t) {
  StoryWorld& w = t.world;
  t.Cast("A", w.NewChild());
  t.Cast("B", w.NewChild());
  const StoryThing food = w.NewFood();
  t.writer.Set("f", food);
  t.writer.Set("p", w.NewOpenPlace());
  t.story.keyword = food.noun;
  const bool rain = w.Chance(0.6);
  const std::string cover = rain ? w.Pick(StoryWords{"umbrella", "raincoat"})
                                 : w.Pick(StoryWords{"blanket", "scarf", "warm coat"});
  t.writer.Set("cover", cover);
  t.writer.Set("acover", WithArticle(cover));
  t.writer.Set("wrapped",
               cover == "umbrella" ? "held the umbrella over" : Str("put the ", cover, " around"));

  Introduce(t);
  t.writer.Say({
      "One morning, {A} [took|packed] {f:a} for lunch and went {p:to}.",
      "One day, {A} sat {p:in}. {A} had {f:a} in {A:p} bag.",
      "One noon, {A} went {p:to} with {f:a}. {A} was looking forward to eating it.",
  });
  t.writer.Say({
      "There {A:s} met {B:n}, a {B:k} who looked [sad|tired|hungry].",
      "On the way, {A:s} saw a {B:k} named {B:n}, who was sitting all alone.",
      "A {B:k} named {B:n} sat there and looked at the ground.",
  });
  t.writer.Say({
      "\"What is the matter?\" asked {A:n}. \"I forgot my lunch, and I am so hungry,\" said {B:n}.",
      "\"I have had nothing to eat today,\" {B:n} said [quietly|in a small voice].",
      "\"Are you all right?\" asked {A:n}. {B:n} shook {B:p} head. \"I lost my lunch,\" {B:s} "
      "said.",
  });
  t.writer.Say({
      "{A:n} looked at {f}. It was not very much. But {A:s} cut it in two and gave one half to "
      "{B:n}.",
      "{A:n} thought for a moment. Then {A:s} [gave|handed] half of {f} to {B:n}.",
      "\"Here, you can have half of my {f:n},\" said {A:n}, and they ate together.",
  });
  t.writer.Say({
      "\"[Thank you|Thank you so much]!\" said {B:n}. \"That was very kind.\"",
      "{B:n} ate [quickly|every bit of it] and smiled. \"I will not forget this,\" {B:s} said.",
      "{B:n} was [so happy|very glad]. They talked and laughed until it was time to go.",
  });
  t.writer.NewParagraph();
  t.writer.Say({
      "[A week later|Some days later|A few days after that|The next week], {A:n} was walking home "
      "alone.",
      "[Later that week|Not long after that], {A:n} had to walk a long way alone.",
  });
  if (rain) {
    t.writer.Say({
        "Suddenly dark clouds came, and it began to rain. {A} had no {cover}, and soon {A:s} was "
        "[wet|wet and cold].",
        "All at once, heavy rain fell from the sky. {A} stood under a tree without {A:p} {cover} "
        "and [shivered|waited].",
    });
  } else {
    t.writer.Say({
        "It [was|became] very cold, and snow began to fall. {A} had no {cover}, and {A:p} hands "
        "were like ice.",
        "An icy wind began to blow. {A} had left {A:p} {cover} at home and [shivered|felt very "
        "cold].",
    });
  }
  t.writer.Say({
      "Then somebody called {A:p} name. It was {B:n}! {B:s} had {acover}[, big enough for two|].",
      "\"{A:n}! Come here!\" called a voice. There stood {B:n} with {acover}.",
      "Just then, {B:n} came down the road with {acover}.",
  });
  t.writer.Say({
      "\"You shared your {f:n} with me,\" said {B:n}. \"Now I will share my {cover} with you.\"",
      "\"Come, we can share my {cover},\" said {B:n}. \"You gave me half of your {f:n} when I was "
      "hungry.\"",
      "{B:n} {wrapped} both of them. \"Do you remember the {f:n}?\" {B:s} asked. \"You helped me, "
      "and now I can help you.\"",
  });
  t.writer.Say({
      "They walked home together, and neither of them was [wet|cold|alone] anymore.",
      "From that day on, {A:n} and {B:n} were [best friends|good friends|friends for life].",
      "\"I am glad that I gave you half of it,\" said {A:n}, and they both laughed.",
      "So {A:n} learned that [a kind heart finds friends|kindness comes back|sharing makes "
      "everybody richer].",
  });
}

// A present is hidden for a birthday; everybody seems to have forgotten.
void TellSurprise(StoryTelling& t) {
  StoryWorld& w = t.world;
  t.Cast("A", w.NewChild());
  t.Cast("B", w.NewChild());
  t.Cast("G", w.NewRelative());
  const StoryThing thing = w.Chance(0.5) ? w.NewToy() : w.NewTreasure();
  const StoryPlace home = w.Home();
  t.writer.Set("x", thing);
  t.writer.Set("spot", w.Pick(home.spots));
  t.writer.Set("f", w.Pick(StoryWords{"a big cake", "a chocolate cake", "an apple pie",
                                      "a plate of cookies", "a cake with berries"}));
  t.story.keyword = thing.noun;

  Introduce(t);
  t.writer.Say({
      "Soon it would be the birthday of {A:p} friend {B:n}. {A} wanted to give {B:O} something "
      "special.",
      "{A} knew that {B:n}, {A:p} best friend, would have a birthday [soon|the next day|on "
      "Sunday].",
  });
  t.writer.Say({
      "{B:n} had [always|long] wanted {x:a}. So {A} [made one|saved {A:p} coins and bought "
      "one|looked for one until {A:s} found it].",
      "\"I know!\" {A:s} thought. \"I will give {B:n} {x:a}!\"",
      "With the help of {G:n}, {A} made {x:a} for {B:n}.",
  });
  t.writer.Say({
      "{A} hid {x} {spot}, so that {B:n} would not see it.",
      "\"Where can we hide it?\" asked {A:n}. \"{spot},\" said {G:n}. And so they did.",
      "Then {A:s} put {x} {spot} and told nobody but {G:n}.",
  });
  t.writer.NewParagraph();
  t.writer.Say({
      "On the morning of the birthday, {B:n} woke up early. But nobody said anything.",
      "Then the day came. {B:n} waited and waited, but nobody came to say happy birthday.",
      "The birthday came. {B:n} walked around, but nobody [looked up|said a word].",
  });
  t.writer.Say({
      "{B:n} felt [sad|very sad|lonely]. \"Has everybody forgotten my birthday?\" {B:s} asked "
      "{B:x}.",
      "\"Even {A:n} has forgotten me,\" {B:n} thought, and a tear ran down {B:p} face.",
  });
  t.writer.Say({
      "In the afternoon, {G:n} knocked on the door. \"Can you come with me, {B:n}?\" {G:s} asked.",
      "Then {A:n} came by. \"Can you help me at home?\" {A:s} asked, as if it were any other day.",
      "Later, a note lay by the door. \"Please come to {A:P} home,\" it said.",
  });
  t.writer.Say({
      "When {B:n} opened the door at {A:P} home, everybody called, \"Surprise! Happy birthday!\"",
      "The room was dark. Then somebody made a light, and all {B:p} friends were there. \"Happy "
      "birthday!\" they sang.",
  });
  t.writer.Say({
      "There was {f}, and there were songs and games.",
      "On the table stood {f}.",
      "They ate {f} and danced.",
  });
  t.writer.Say({
      "\"Now look {spot},\" said {A:n}. {B:n} looked, and there was {x}!",
      "{A:n} looked {spot} and came back with {x}. \"This is for you, {B:n},\" {A:s} said.",
      "\"And there is something for you {spot},\" {A:n} [whispered|said]. {B:n} ran to look and "
      "found {x}.",
  });
  t.writer.Say({
      "\"[This is just what I wanted|It is beautiful|I have always wanted one]!\" said {B:n}. \"I "
      "thought you had all forgotten me.\"",
      "{B:n} laughed and cried at the same time. \"So you did not forget!\" {B:s} said.",
      "{B:n} held {x} and smiled. It was the best birthday ever.",
  });
  t.writer.Maybe(0.7, {
                          "\"How could I forget my best friend?\" said {A:n}.",
                          "{A:n} smiled. Keeping the secret had been hard, but it was worth it.",
                          "That night, {B:n} put {x} next to {B:p} bed and fell asleep happily.",
                      });
}

// A pet runs away; what it loves or fears, told at the start, tells where it is.
void TellMissingPet(StoryTelling& t) {
  StoryWorld& w = t.world;
  struct Habit {
    const char* fact;
    const char* keyword;
    const char* cause;
    const char* idea;
    const char* found;
  };
  static const std::vector<Habit> kHabits = {
      {"loved warm places", "warm", "One cold night, the door stood open and {C:n} was gone.",
       "\"{C:n} loves warm places,\" {A} said. \"Where is it warm?\" They thought of the baker's "
       "oven.",
       "And there, next to the warm oven, lay {C:n}, fast asleep."},
      {"was afraid of thunder and always hid in dark places", "dark",
       "One evening, there was loud thunder, and {C:n} ran out of the house.",
       "\"{C:n} is afraid of thunder,\" {A} said. \"Then {C:s} will hide in a dark place.\" They "
       "looked in the old shed.",
       "In the darkest corner, two eyes were shining. It was {C:n}!"},
      {"loved apples more than anything", "apples",
       "One morning, the gate stood open and {C:n} was not there.",
       "\"{C:n} loves apples,\" {A} said. \"Where are there apples?\" They ran to the big apple "
       "tree.",
       "Under the tree sat {C:n}, between many red apples, with a very full belly."},
      {"loved music and came to every song", "song",
       "One day, there were many people in the street, and {C:n} got lost.",
       "\"{C:n} loves music,\" {A} said. \"Let us sing {C:p} favorite song.\" They walked along "
       "the road and sang.",
       "At the third song, {C:n} came out from behind a wall and ran to {A:O}."},
      {"liked to sit by the water", "water",
       "One afternoon, {A} came home and could not find {C:n} anywhere.",
       "\"{C:n} likes to sit by the water,\" {A} said. \"Let us look at the pond.\" They ran all "
       "the way.",
       "By the water sat {C:n} and looked at the little fish."},
      {"liked to ride on carts", "cart",
       "One market day, {A} turned around and {C:n} had disappeared.",
       "\"{C:n} likes to ride on carts,\" {A} said. \"Which cart was here?\" It was the farmer's "
       "cart, so they ran to the farm.",
       "On top of the cart, in the soft hay, sat {C:n} and looked very pleased."},
  };
  const Habit& habit = w.Pick(kHabits);
  t.Cast("A", w.NewChild());
  t.Cast("B", w.NewChild());
  const StoryPerson pet = w.NewPet();
  t.Cast("C", pet);
  t.writer.Set("pet", WithArticle(pet.kind));
  t.writer.Set("fact", habit.fact);
  t.writer.Set("coat", w.Pick(StoryWords{"brown", "white", "black", "gray", "spotted", "golden"}));
  t.story.keyword = habit.keyword;

  Introduce(t);
  t.writer.Say({
      "{A} had {pet} named {C:n}. {C:n} was {coat} and {fact}.",
      "{A:P} best friend was {C:n}, a {coat} {C:k} who {fact}.",
      "At home, {A} had a small {C:k}. It had the name {C:n}. {C:n} {fact}.",
  });
  t.writer.Maybe(
      0.6, {
               "They played together every day, and at night {C:n} slept at the foot of {A:P} bed.",
               "Every morning, {A:n} gave {C:n} something to eat and some fresh water.",
               "Wherever {A:n} went, {C:n} went too.",
           });
  t.writer.NewParagraph();
  t.writer.Say({habit.cause});
  t.writer.Say({
      "\"{C:n}! Where are you?\" {A:n} called, but nothing moved.",
      "{A:n} called and called, but {C:n} did not come.",
      "{A:n} was [frightened|very worried]. {A} looked behind the house and in the street, but "
      "{C:n} was not there.",
  });
  t.writer.Say({
      "{A:n} ran to {B:n}, {A:p} friend. \"Have you seen {C:n}?\" {A:s} asked. \"No,\" said {B:n}, "
      "\"but I will help you.\"",
      "A {B:k} named {B:n} came by. \"I will help you to look,\" {B:s} said.",
      "Then {B:n} came. {B:n} was a {B:k} who lived nearby. \"Let us look together,\" {B:s} said.",
  });
  t.writer.Say({
      "\"What does {C:n} like? What does {C:s} do all day?\" {B:n} asked.",
      "\"Let's think,\" said {B:n}. \"Where would {C:n} go?\"",
      "They asked everybody on the way, but nobody had seen a {coat} {C:k}. \"We have to think,\" "
      "said {B:n}.",
  });
  t.writer.Say({habit.idea});
  t.writer.Say({habit.found});
  t.writer.NewParagraph();
  t.writer.Say({
      "{A:n} took {C:n} in {A:p} arms. \"[I missed you|I am so glad|Never run away again]!\" {A:s} "
      "said.",
      "{A:n} was so happy that {A:s} [laughed and cried|danced around]. \"There you are, {C:n}!\"",
  });
  t.writer.Say({
      "\"You found {C:o} because you know {C:o} so well,\" said {B:n}.",
      "\"Thank you for your help, {B:n},\" said {A:n}. Then they all went home.",
      "{B:n} smiled. \"Now I know {C:O} a little too,\" {B:s} said.",
  });
  t.writer.Maybe(0.6, {
                          "From then on, {A:n} always closed the door well.",
                          "That night, {C:n} slept right next to {A:O}.",
                          "And {C:n}? {C:n} only wanted {C:p} dinner.",
                      });
}

// A race in which the faster one loses or turns back to help.
void TellRace(StoryTelling& t) {
  StoryWorld& w = t.world;
  t.Cast("A", w.NewChild());
  t.Cast("B", w.NewChild());
  t.Cast("H", w.NewHelper());
  StoryThing prize = w.NewTreasure();
  StoryPlace place = w.NewOpenPlace();
  t.writer.Set("x", prize);
  t.writer.Set("p", place);
  t.story.keyword = prize.noun;
  const bool sleeps = w.Chance(0.5);

  Introduce(t);
  t.writer.Say({
      "{A} was not fast, but {A:s} never gave up.",
      "{A} could not run very fast. [Others laughed about that.|But {A:s} did not mind.]",
  });
  t.writer.Say({
      "{B:n} was a {B:k}, and {B:s} was the fastest runner of all.",
      "Then there was {B:n}. {B:n} could run like the wind, and everybody knew it.",
  });
  DescribeDay(t, w.NewWeather());
  t.writer.Say({
      "One {sky} {part}, {H:n} said, \"There will be a race {p:to}. The winner gets {x:a}.\"",
      "One day, {H:n} held up {x:a}. \"Whoever is first {p:in} may keep it,\" {H:s} said.",
  });
  t.writer.Say({
      "\"That {x:n} is mine already,\" [laughed|said] {B:n}. \"I will try too,\" {A:n} said "
      "quietly.",
      "\"I will win, of course,\" said {B:n}. {A:n} said nothing, but {A:s} wanted to try.",
  });
  t.writer.NewParagraph();
  t.writer.Say({
      "\"One, two, three, go!\" called {H:n}. {B:n} [ran off|shot forward] at once and was soon "
      "far ahead.",
      "{H:n} clapped {H:p} hands, and they ran. After a short time, {A:n} could not even see {B:n} "
      "anymore.",
  });
  if (sleeps) {
    t.writer.Say({
        "{B:n} looked back and laughed. \"I have so much time,\" {B:s} said, lay down under a tree "
        "and fell asleep.",
        "Halfway, {B:n} found sweet berries. {B:s} ate and ate, and then {B:s} fell asleep in the "
        "sun.",
    });
    t.writer.Say({
        "{A:n} ran and ran, step by step. {A} ran past {B:O} and did not stop.",
        "Meanwhile, {A:n} went on. {A} was tired, but {A:s} did not rest.",
    });
    t.writer.Say({
        "When {B:n} woke up, it was too late. {A:n} was already {p:in}!",
        "At last {B:n} opened {B:p} eyes and ran. But {A:n} was there first.",
    });
    t.writer.NewParagraph();
    t.writer.Say({
        "{H:n} gave {x} to {A:n}. \"Slow and steady wins the race,\" {H:s} said.",
        "\"The winner is {A:n}!\" called {H:n} and gave {A:o} {x}.",
    });
    t.writer.Say({
        "{B:n} hung {B:p} head. \"You won, because you did not stop,\" {B:s} said and shook {A:P} "
        "hand.",
        "{B:n} never laughed about {A:n} again. And {A:n} kept {x} for many years.",
    });
  } else {
    t.writer.Say({
        "But then {B:n} stepped on a sharp stone and fell. \"My foot!\" {B:s} cried.",
        "Suddenly {B:n} slipped in the mud and hurt {B:p} leg.",
    });
    t.writer.Say({
        "{A:n} came by. Now {A:s} could win! {A} thought of {x}. But {A:s} stopped and helped "
        "{B:O} up.",
        "When {A:n} came, {B:n} was sitting by the road. {A:n} could have run past {B:o}. But "
        "{A:s} stopped.",
    });
    t.writer.Say({
        "\"Why do you help me?\" asked {B:n}. \"You could win {x}.\" \"A friend is better than a "
        "{x:n},\" said {A:n}.",
        "\"Lean on me,\" said {A:n}. And so they walked on together, slowly, arm in arm.",
    });
    t.writer.Say({
        "They came {p:to} last of all, but they came together.",
        "When they arrived, everybody else was already there. But all of them clapped.",
    });
    t.writer.NewParagraph();
    t.writer.Say({
        "{H:n} had seen everything. \"{x} is for {A:n},\" {H:s} said, \"because {A:s} has the "
        "biggest heart.\"",
        "\"Today there is a prize for kindness,\" said {H:n}, and gave {x} to {A:n}.",
    });
    t.writer.Say({
        "{A:n} and {B:n} were friends from that day on, and they took turns with {x}.",
        "{B:n} clapped the loudest. After that, {B:s} taught {A:O} how to run faster.",
    });
  }
}

// A big task is too much for one; each helper does what only they can do.
void TellTogether(StoryTelling& t) {
  StoryWorld& w = t.world;
  t.Cast("A", w.NewChild());
  t.Cast("B", w.NewChild());
  t.Cast("H", w.NewHelper());
  const StoryThing tool = w.Pick(std::vector<StoryThing>{
      {"rope", "long rope"}, {"ladder", "tall ladder"}, {"net", "strong net"}});
  const StoryThing toy = w.Pick(std::vector<StoryThing>{{"ball", "red ball"},
                                                        {"kite", "green kite"},
                                                        {"hat", "blue hat"},
                                                        {"doll", "little doll"},
                                                        {"toy boat", "white toy boat"},
                                                        {"kite", "yellow kite"},
                                                        {"ball", "striped ball"},
                                                        {"cap", "purple cap"}});
  t.writer.Set("x", toy);
  t.writer.Set("y", tool);
  t.writer.Set("p", w.NewOpenPlace());
  t.story.keyword = toy.noun;

  Introduce(t);
  IntroduceFriend(t);
  DescribeDay(t, w.Weather("windy"));
  t.writer.Say({
      "One {sky} {part}, they were playing {p:in} with {x:a}.",
      "{A:n} had brought {x:a} {p:to}, and they played with it. {weather}",
  });
  t.writer.Say({
      "Suddenly, the wind took {x} and carried it up into a very tall tree.",
      "Then {B:n} threw {x} too high, and it got stuck in a tall tree.",
  });
  t.writer.Say({
      "\"Oh no, my {x:n}!\" cried {A:n}.",
      "They looked up. {x} hung on the highest branch.",
  });
  t.writer.NewParagraph();
  t.writer.Say({
      "{A:n} tried to climb the tree, but {A:s} could not reach the first branch.",
      "First, {A:n} jumped as high as {A:s} could. That was not high enough.",
  });
  t.writer.Say({
      "{B:n} threw stones at it, but they all missed.",
      "Then {B:n} shook the tree. Only some leaves came down.",
      "Then {B:n} tried it with a long stick. It was too short.",
  });
  t.writer.Say({
      "\"We cannot do it alone,\" said {A:n}. \"{H:n} has {y:a}. Let's ask {H:o}!\"",
      "Just then, {H:n} came along with {y:a}. \"What are you doing there?\" {H:s} asked.",
  });
  SmallPause(t);
  if (tool.noun == "rope") {
    t.writer.Say(
        {"{H:n} threw {y} over the branch and held it tightly. {B:n} was the lightest, so {B:s} "
         "climbed up the rope, while {A:n} showed {B:o} the way from below.",
         "{H:n} tied {y} around the branch. {A:n} and {H:n} pulled until the branch bent down, and "
         "{B:n} took {x} from it."});
  } else if (tool.noun == "ladder") {
    t.writer.Say(
        {"{H:n} put {y} against the tree and held it, and {B:n} held it too. Then {A:n} climbed "
         "up, step by step, and took {x} from the branch.",
         "They carried {y} to the tree. {H:n} and {A:n} held it, while {B:n} climbed to the top "
         "and got {x}."});
  } else {
    t.writer.Say(
        {"{A:n} and {H:n} held {y} under the tree, and {B:n} shook the branch with a stick. {x} "
         "fell right into the net.",
         "{H:n} lifted {A:O} up, and {A:n} reached out with {y}. {B:n} called, \"More to the "
         "left!\" And then {x} was in the net."});
  }
  t.writer.NewParagraph();
  t.writer.Say({
      "\"We did it!\" they all shouted.",
      "\"Hurray!\" called {A:n} and held up {x}.",
  });
  t.writer.Say({
      "\"Alone, none of us could do it,\" said {H:n}. \"But together it was easy.\"",
      "{A:n} thanked {H:n} for {y}, and {B:n} for being so [brave|clever].",
  });
  t.writer.Say({
      "Then all three of them played with {x}, far away from the tall tree.",
      "After that, they only played with {x} where there were no trees.",
      "{A:n} invited {B:n} and {H:n} for cake, and {x} lay safely on the table beside them.",
  });
}

// A small act of help, and what comes of it; short.
void TellKindness(StoryTelling& t) {
  StoryWorld& w = t.world;
  struct Small {
    const char* creature;
    const char* trouble;
    const char* help;
    const char* thanks;
  };
  static const std::vector<Small> kSmall = {
      {"bird", "had fallen out of its nest", "lifted it up and put it back",
       "sang outside {A:P} window"},
      {"bee", "had fallen into the water", "held out a leaf and let it climb up",
       "showed {A:O} a field full of flowers"},
      {"fish", "lay on the sand and could not breathe", "carried it back into the water",
       "jumped high out of the water, as if to say hello"},
      {"snail", "sat in the middle of the road", "carried it over to the grass",
       "left a shining path all the way to {A:P} door"},
      {"butterfly", "was caught in a web", "freed it very carefully", "sat down on {A:P} hand"},
      {"frog", "was stuck in a deep hole",
       "put a long stick into the hole, so that it could climb out", "sang {A:O} a song"},
      {"ant", "was too weak to carry its grain", "carried the grain to its home",
       "came back with a hundred friends and cleaned up all the crumbs"},
  };
  const Small& small = w.Pick(kSmall);
  t.Cast("A", w.NewChild());
  t.writer.Set("p", w.NewOpenPlace());
  t.writer.Set(
      "c", StoryThing{small.creature, w.Pick(StoryWords{"", "little ", "tiny "}) + small.creature});
  t.story.keyword = small.creature;

  Introduce(t);
  OpenDay(t);
  t.writer.Say({Str("{when}, {A:n} was {p:in} and saw {c:a} that ", small.trouble, ".").c_str(),
                Str("{when}, {A:n} went {p:to}. There {A:s} found {c:a} that ", small.trouble, ".")
                    .c_str()});
  t.writer.Maybe(0.7, {
                          "\"You poor thing,\" said {A:n}. \"I will help you.\"",
                          "Everybody else just walked past it. But {A:n} stopped.",
                          "{A:n} was in a hurry, but {A:s} could not just walk on.",
                      });
  t.writer.Say({Str("{A} ", small.help, ".").c_str(), Str("Then {A:s} ", small.help, ".").c_str()});
  t.writer.Say({
      "{A} watched {c} for a while and then went home.",
      "\"Take care, {c:l}!\" {A:s} said and waved.",
      "{A} felt warm and happy inside.",
  });
  t.writer.Say({Str("The next day, {c} ", small.thanks, ".").c_str(),
                Str("{A:n} had almost forgotten it. But a few days later, {c} ", small.thanks, ".")
                    .c_str()});
  t.writer.Say({
      "\"So you remember me!\" said {A:n} and laughed.",
      "That was the {c:l}'s way of saying thank you.",
      "{A} smiled, because {A:s} knew that {c} wanted to thank {A:o}.",
  });
}

}  // namespace ckv
