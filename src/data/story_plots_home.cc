// Plans that begin at home: advice, promises, errands and noises in the night.
#include <string>
#include <vector>

#include "base/str.h"
#include "data/story_plots.h"

namespace ckv {

// Advice that somebody gives at the start is what helps at the end.
void TellAdvice(StoryTelling& t) {
  StoryWorld& w = t.world;
  struct Advice {
    const char* rule;  // "If you are ever lost, ..."
    const char* keyword;
    const char* action;  // what {A} did in the end
    const char* result;
    bool dark;  // helps at night only
  };
  static const std::vector<Advice> kAdvice = {
      {"follow the river, for it flows past our home", "river",
       "found the river and followed it [step by step|for a long time|through the trees]",
       "Soon the river led {A:o} to {A:p} own door.", false},
      {"climb a hill and look for the tall tower", "tower",
       "climbed a hill and looked around. Far away stood the tall tower",
       "{A} walked toward the tower, and behind it was {A:p} home.", false},
      {"stay where you are and sing a loud song", "sing",
       "sat down on a stone and began to sing as loudly as {A:s} could",
       "{G:n} heard {A:o} sing and came running.", false},
      {"blow your whistle three times", "whistle", "took out the whistle and blew it three times",
       "[After a while|Soon], {G:n} heard the whistle and came through the trees.", false},
      {"look for the brightest star and walk toward it", "star",
       "looked up until {A:s} saw the brightest star, and walked toward it",
       "Under the star there was a light. It was the window of {A:p} home.", true},
      {"listen for the bell, because it rings every evening", "bell",
       "stood very still and listened. Far away, a bell was ringing",
       "{A} walked toward the sound of the bell and came home just in time.", true},
      {"drop white stones on the path and follow them back", "stones",
       "turned around and looked for the white stones on the path",
       "One by one, the stones showed {A:o} the way home.", false},
  };
  const Advice& advice = w.Pick(kAdvice);
  t.Cast("A", w.NewChild());
  t.Cast("G", w.NewRelative());
  t.writer.Set("p", w.NewWildPlace());
  t.writer.Set("rule", advice.rule);
  t.story.keyword = advice.keyword;

  Introduce(t);
  if (std::string(advice.keyword) == "whistle") {
    t.writer.Say({"{G:n} gave {A:O} a little whistle. {A} [wore|kept] it around {A:p} neck."});
  }
  t.writer.Say({
      "\"If you are ever lost, {rule},\" {G:n} [always said|used to say|often told {A:O}].",
      "{G:n} had once told {A:O}, \"If you lose your way, {rule}.\" {A} did not forget it.",
      "One evening, {G:n} said, \"Remember this. If you get lost, {rule}.\" \"I will remember,\" "
      "said {A:n}.",
  });
  t.writer.NewParagraph();
  DescribeDay(t, w.NewWeather());
  t.writer.Set("lure",
               w.Pick(StoryWords{"a blue butterfly", "a little deer", "a bird with red wings",
                                 "some wild berries", "a trail of tiny flowers",
                                 "a rabbit with white ears", "a path of soft green moss"}));
  t.writer.Say({
      "One {sky} {part}, {A} went for a walk {p:in}. There {A:s} saw {lure}[, and| and] {A:s} went "
      "after it.",
      "On a {sky} {part}, {A} was playing {p:in}. Suddenly {A:s} noticed {lure}. {A} followed it, "
      "deeper and deeper into the trees.",
      "One {part}, {A} wanted to pick flowers for {G:n}. Near {p}, {A:s} saw {lure} and went after "
      "it, farther and farther away.",
  });
  t.writer.Maybe(0.5, {"{A} did not look at the path.", "{A} forgot the time.",
                       "The path became smaller and smaller."});
  if (advice.dark) {
    t.writer.Say({
        "Then it [got|grew] dark, and {A} could not see the way back. \"Oh no, I am lost!\" {A:s} "
        "said.",
        "When {A:s} turned around, it was already dark. {A} was lost.",
        "The sun went down. Where was the way home? {A} did not know.",
    });
  } else {
    t.writer.Say({
        "When {A:s} turned around, nothing looked the same. {A} was lost.",
        "After a while, {A} stopped. Where was the way home? {A} did not know.",
        "\"Where am I?\" {A:s} asked. Every tree looked like the next one. {A} was lost.",
    });
  }
  t.writer.Say({
      "{A} was [afraid|scared] and wanted to cry.",
      "{A:P} heart beat [fast|very fast]. The trees looked tall and dark.",
      "First {A} ran to the left, and then {A:s} ran to the right, but that did not help.",
  });
  t.writer.NewParagraph();
  t.writer.Say({
      "Then {A} thought of {G:n}. What had {G:s} said? \"{rule}!\"",
      "But then {A} remembered what {G:n} had told {A:o}: \"If you are lost, {rule}.\"",
      "{A} took a deep breath. {G:n} had told {A:o} what to do.",
  });
  t.writer.Say({Str("So {A} ", advice.action, ".").c_str(),
                Str("{A} was brave. {A:s} ", advice.action, ".").c_str()});
  t.writer.Say({advice.result});
  t.writer.Say({
      "{G:n} took {A:O} in {G:p} arms. \"I was so worried,\" {G:s} said.",
      "{G:n} was [very glad|so happy] to see {A:O} and gave {A:o} [warm soup|hot milk|a warm "
      "blanket].",
      "\"There you are!\" said {G:n}. \"You did just the right thing.\"",
  });
  t.writer.Say({
      "\"I did what you told me,\" said {A:n}. \"You said, {rule}.\"",
      "\"Your advice helped me,\" {A} said, and they both smiled.",
      "{A} never forgot that day, and {A:s} always listened to {G:n}.",
  });
}

// A tip, several failures, and success by the tip.
void TellLearning(StoryTelling& t) {
  StoryWorld& w = t.world;
  struct Skill {
    const char* verb;
    const char* past;
    const char* fail;
    const char* tip;
    const char* keyword;
    const char* success;
    bool for_animals;
  };
  static const std::vector<Skill> kSkills = {
      {"ride a bike", "rode", "fell into the grass", "look ahead and not at your feet", "ahead",
       "looked straight ahead, and the bike rolled on and on", false},
      {"swim", "swam", "swallowed water and had to stop", "breathe slowly and move like a frog",
       "frog", "breathed slowly and moved like a frog, and the water carried {A:o}", false},
      {"whistle", "whistled", "made only a funny noise", "make your lips round like a little berry",
       "berry", "made {A:p} lips round like a little berry, and a clear sound came out", true},
      {"skate on the ice", "skated", "fell down with a bump", "bend your knees", "knees",
       "bent {A:p} knees, and then {A:s} slid across the ice", true},
      {"climb the tall tree", "climbed", "slid down the trunk",
       "hold on with both hands and go slowly", "slowly",
       "held on with both hands and went up slowly, until {A:s} sat at the very top", true},
      {"jump over the stream", "jumped", "landed in the water", "count to three before you run",
       "three", "counted to three, ran as fast as {A:s} could, and landed on the other side", true},
      {"bake bread", "baked", "burned it, and it was as black as coal",
       "listen to the clock and not to the birds", "clock",
       "listened to the clock, and the bread came out golden and soft", false},
      {"play the flute", "played", "made a sound like an angry goose",
       "play softly, as if a baby were asleep", "softly",
       "played softly, as if a baby were asleep, and it sounded lovely", true},
      {"fly a kite", "flew", "watched the kite fall to the ground", "run against the wind", "wind",
       "ran against the wind, and the kite rose higher than the trees", false},
  };
  const Skill* skill = &w.Pick(kSkills);
  while (w.animals() && !skill->for_animals) skill = &w.Pick(kSkills);
  t.Cast("A", w.NewChild());
  t.Cast("G", w.Chance(0.5) ? w.NewRelative() : w.NewHelper());
  t.writer.Set("skill", skill->verb);
  t.writer.Set("fail", skill->fail);
  t.writer.Set("tip", skill->tip);
  t.story.keyword = skill->keyword;

  Introduce(t);
  t.writer.Say({
      "{A} wanted to learn to {skill}, but {A:s} could not do it yet.",
      "More than anything, {A} wanted to {skill}.",
      "All {A:p} friends could {skill}, but {A:n} could not.",
  });
  t.writer.Say({
      "{A} went to {G:n}. \"Can you teach me?\" {A:s} asked. \"Of course,\" said {G:n}. \"There is "
      "only one secret: {tip}.\"",
      "{G:n} knew how to do it. \"The trick is easy,\" {G:s} said. \"You must {tip}.\"",
      "\"It is not hard,\" said {G:n}. \"Just {tip}. And do not give up.\"",
  });
  t.writer.NewParagraph();
  OpenDay(t);
  t.writer.Say({
      "On Monday, {A} tried for the first time. {A} was in a hurry and {fail}.",
      "The first time, {A} [did not think|forgot everything] and {fail}.",
      "{A} tried at once, but {A:s} {fail}.",
  });
  t.writer.Say({
      "On Tuesday, {A:s} tried again and {fail}[| again].",
      "The second time was not better. {A} {fail} once more.",
      "\"One more time!\" {A:s} said. But again {A:s} {fail}.",
  });
  t.writer.Say({
      "[Some friends laughed|Somebody laughed|A crow seemed to laugh], and {A} was [sad|ashamed].",
      "\"I will never learn it,\" {A} [said|cried] and sat down.",
      "{A} wanted to give up. {A:P} eyes were wet.",
  });
  t.writer.Say({
      "Then {G:n} sat down beside {A:O}. \"Do you remember the secret?\" {G:s} asked.",
      "\"What did I tell you?\" {G:n} asked [kindly|with a smile].",
      "That night, {A} thought about what {G:n} had said.",
  });
  t.writer.Say({
      "{A} thought. \"{tip},\" {A:s} said slowly.",
      "\"Yes! I must {tip}!\" said {A:n}.",
      "Now {A:s} remembered: {tip}. {A} had forgotten that in {A:p} hurry.",
  });
  t.writer.NewParagraph();
  t.writer.Say(
      {Str("The next day, {A} tried again. This time, {A:s} ", skill->success, ".").c_str(),
       Str("{A} got up and tried one last time. {A:s} ", skill->success, ".").c_str()});
  t.writer.Say({
      "\"I can do it! I can {skill}!\" {A} [called|shouted].",
      "{A} could hardly believe it. {A} had done it!",
      "Everybody clapped, and {G:n} clapped the loudest.",
  });
  t.writer.Say({
      "\"You did not give up,\" said {G:n}. \"I am proud of you.\"",
      "Later, {A} showed a younger {A:k} how to {skill}. \"There is a secret,\" {A:s} said. \"You "
      "must {tip}.\"",
      "{A} thanked {G:O}. Now {A:s} could {skill} better than anybody else.",
  });
}

// A seed is planted and somebody cares for it; the flower goes to the one it was promised to.
void TellPlant(StoryTelling& t) {
  StoryWorld& w = t.world;
  t.Cast("A", w.NewChild());
  t.Cast("B", w.NewChild());
  t.Cast("G", w.NewRelative());
  const std::string plant = w.Pick(StoryWords{
      "sunflower", "rose", "tomato plant", "strawberry plant", "tulip", "pumpkin", "bean plant"});
  const std::string color = w.Pick(StoryWords{"yellow", "red", "blue", "white", "purple", "black"});
  t.writer.Set("plant", plant);
  t.writer.Set("pot", color + " pot");
  t.writer.Set("days", w.Pick(StoryWords{"three", "four", "five", "seven", "ten"}));
  t.writer.Set("trip", w.Pick(StoryWords{"visit {A:p} aunt", "go to the mountains",
                                         "see the big city", "help on a farm"}));
  t.story.keyword = plant;

  Introduce(t);
  t.writer.Say({
      "In spring, {A} found a seed. \"It is the seed of a {plant},\" said {G:n}.",
      "One spring day, {G:n} gave {A:O} a tiny seed. \"This will be a {plant},\" {G:s} said.",
  });
  t.writer.Say({
      "{A} put the seed into a {pot} and gave it water.",
      "{A} filled a {pot} with earth and put the seed into it.",
  });
  t.writer.Say({
      "\"When it is big, I will give it to you, {G:n},\" {A} promised.",
      "\"It will be for you, {G:n},\" said {A:n}. \"I promise.\"",
  });
  t.writer.Say({
      "Every morning, {A:n} gave the {pot} some water. [For a long time, nothing happened.|Nothing "
      "could be seen yet.]",
      "Day after day, {A:n} put the {pot} in the sun and gave it water.",
  });
  t.writer.Maybe(0.6, {"At last, a little green leaf came out of the earth.",
                       "Then, one morning, there was a small green leaf!"});
  t.writer.NewParagraph();
  t.writer.Say({
      "In summer, {A:n} had to [visit {A:p} aunt|go to the mountains|help on a farm far away] for "
      "{days} days. Who would water the {plant}?",
      "Then {A:n} had to leave for {days} days. {A} was worried about the {plant}.",
  });
  t.writer.Say({
      "{A} asked {B:n}, a {B:k} from next door. \"I will water it every day,\" said {B:n}. \"I "
      "promise.\"",
      "\"I can do it,\" said {B:n}, who was {A:p} friend. \"You can trust me.\"",
  });
  const bool forgot = w.Chance(0.5);
  if (forgot) {
    t.writer.Say({
        "{B:n} kept the promise at first. But on the [second|third] day, {B:s} played outside and "
        "forgot the {plant}.",
        "On the first day, {B:n} came with water. On the next day, {B:s} wanted to play and forgot "
        "it.",
    });
    t.writer.Say({
        "In the night, {B:n} woke up. \"The {plant}!\" {B:s} cried. {B:s} ran to the {pot} in the "
        "moonlight. The leaves hung down.",
        "Then it got very hot. Suddenly {B:n} remembered. {B:s} ran to the {pot}, and the leaves "
        "were yellow and dry.",
    });
    t.writer.Say({
        "{B:n} gave it water and talked to it softly, and the next day the leaves stood up again.",
        "\"Please do not die,\" {B:n} said and gave it fresh water. In the morning, it was green "
        "again.",
    });
  } else {
    t.writer.Say({
        "{B:n} came every day, even when it [rained|was very hot], and gave the {plant} water.",
        "Every morning and every evening, {B:n} went to the {pot} with fresh water.",
    });
    t.writer.Say({
        "Once, a goat wanted to eat the leaves, but {B:n} chased it away.",
        "When a storm came, {B:n} carried the {pot} into the house.",
        "{B:n} even sang to it, so that it would not be lonely.",
    });
  }
  t.writer.NewParagraph();
  t.writer.Say({
      "After {days} days, {A:n} came home and ran to the {pot}. The {plant} was tall and "
      "beautiful!",
      "When the {days} days were over, {A:n} came back. \"Look!\" said {B:n}. The {plant} had "
      "grown as high as the window.",
  });
  if (forgot) {
    t.writer.Say({
        "\"Once I forgot it,\" {B:n} said honestly, \"but then I ran to it in time.\" {A:n} was "
        "not angry.",
        "{B:n} told {A:O} about the day without water. \"But you remembered,\" said {A:n}. \"Thank "
        "you.\"",
    });
  } else {
    t.writer.Say({
        "\"You kept your promise,\" said {A:n}. \"Thank you, {B:n}!\"",
        "\"Thank you, {B:n}! You took such good care of it,\" said {A:n}.",
    });
  }
  t.writer.Say({
      "Then {A:n} remembered {A:p} own promise. {A} took the {pot} and carried it to {G:n}. \"This "
      "is for you,\" {A:s} said.",
      "Together they carried the {pot} to {G:n}. \"I promised it to you in spring,\" said {A:n}.",
  });
  t.writer.Say({
      "{G:n} had tears in {G:p} eyes. It was the most beautiful {plant} in the world.",
      "{G:n} put the {plant} by the window, where everybody could see it.",
      "{G:n} smiled at {A:n} and {B:n}. \"A {plant} from two friends,\" {G:s} said.",
  });
}

// A noise in the night; what makes it was told at the start.
void TellNoise(StoryTelling& t) {
  StoryWorld& w = t.world;
  struct Noise {
    const char* cause;  // what the day says
    const char* sound;
    const char* answer;
    const char* keyword;
  };
  static const std::vector<Noise> kNoises = {
      {"One windy day, {A} left {A:p} kite by the window.", "something scratched at the window",
       "It was only the kite! The wind moved it, and its tail scratched at the glass.", "kite"},
      {"One rainy day, {G:n} put a bucket under a hole in the roof.",
       "something went plop, plop, plop",
       "It was only the bucket! Drops of rain were falling into it.", "bucket"},
      {"One cold day, {A} found a little bird with a hurt wing and put it in a box in the kitchen.",
       "something hopped and peeped",
       "It was only the little bird! It had climbed out of its box and was eating the bread.",
       "bird"},
      {"One evening, {A} forgot to close the garden gate.", "something went bang, bang, bang",
       "It was only the garden gate! The wind opened and closed it.", "gate"},
      {"One morning, {G:n} brought home an old clock and put it in the hall.",
       "something went tick, tick, and then it groaned",
       "It was only the old clock! It groaned a little before every hour.", "clock"},
      {"One afternoon, {A} hung a white sheet in the garden to dry.",
       "something white danced outside in the dark",
       "It was only the white sheet! Nobody had taken it down.", "sheet"},
  };
  const Noise& noise = w.Pick(kNoises);
  t.Cast("A", w.NewChild());
  t.Cast("B", w.NewChild());
  t.Cast("G", w.NewRelative());
  const StoryThing light = {"lamp",
                            w.Pick(StoryWords{"little lamp", "old lamp", "red lamp", "lamp"})};
  t.writer.Set("l", light);
  t.writer.Set("sound", noise.sound);
  t.story.keyword = noise.keyword;

  Introduce(t);
  t.writer.Say({noise.cause});
  t.writer.Say({
      "At night, {A:P} friend {B:n} was allowed to stay. The two told each other stories until "
      "they were tired.",
      "{B:n}, a {B:k} from next door, came to stay for the night. They ate soup and went to bed.",
  });
  t.writer.Maybe(0.4,
                 {"Outside, it was dark, and the wind blew.", "The moon was behind the clouds."});
  t.writer.NewParagraph();
  t.writer.Say({
      "In the middle of the night, {A:n} woke up. [Listen!|What was that?] There it was again: "
      "{sound}.",
      "Then, when everybody was asleep, {sound}. {A:n} opened {A:p} eyes.",
      "At midnight, {sound}. {A:n} sat up in bed.",
  });
  t.writer.Say({
      "\"{B:n}, wake up!\" {A:n} whispered. \"Do you hear that?\"",
      "{A:n} pulled {B:P} arm. \"There is somebody,\" {A:s} whispered.",
  });
  t.writer.Say({
      "\"It is a [monster|ghost|giant]!\" said {B:n} and hid under the blanket.",
      "{B:n} turned pale. \"Maybe it is a [monster|ghost|robber],\" {B:s} said.",
  });
  t.writer.Say({
      "{A:n} was afraid too. But {A:s} took {l} and said, \"Let's go and see.\"",
      "\"We have to look,\" said {A:n} and lit {l}. {A:P} hand was shaking.",
      "{A:n} was scared, but {A:s} wanted to know. So {A:s} took {l} and {B:P} hand.",
  });
  t.writer.Say({
      "Step by step, they went toward the sound. Their hearts beat loudly.",
      "They walked very slowly. The floor was cold under their feet.",
      "The light of {l} made long shadows on the walls.",
  });
  t.writer.Say({"{A:n} held up {l}, and then {A:s} began to laugh."});
  t.writer.Say({noise.answer});
  t.writer.NewParagraph();
  t.writer.Say({
      "{B:n} laughed too. \"And I thought it was a monster!\" {B:s} said.",
      "\"What a silly monster,\" said {B:n}, and they laughed until {G:n} woke up.",
      "{G:n} came in and asked what was so funny. When they told {G:o}, {G:s} laughed as well.",
  });
  t.writer.Say({
      "Then they went back to bed. \"You were brave,\" said {B:n}. \"I was afraid,\" said {A:n}, "
      "\"but I wanted to know.\"",
      "\"If you are afraid of something, go and look at it,\" said {A:n}. Then they slept until "
      "morning.",
      "Back in bed, they could still hear it. But now it did not scare them at all, and soon they "
      "were asleep.",
  });
}

// An errand with a list; something on the way makes the child late; the promise is kept.
void TellErrand(StoryTelling& t) {
  StoryWorld& w = t.world;
  t.Cast("A", w.NewChild());
  t.Cast("G", w.NewRelative());
  t.Cast("H", w.NewHelper());
  t.Cast("B", w.NewChild());
  StoryWords goods = {"bread",  "milk",  "honey",  "eggs",    "apples",
                      "cheese", "flour", "butter", "carrots", "salt"};
  StoryWords list;
  for (int i = 0; i < 3; ++i) {
    std::string item = w.Pick(goods);
    while (item == (i > 0 ? list[0] : "") || item == (i > 1 ? list[1] : "")) item = w.Pick(goods);
    list.push_back(item);
  }
  t.writer.Set("i1", list[0]);
  t.writer.Set("i2", list[1]);
  t.writer.Set("i3", list[2]);
  t.writer.Set("meal", w.Pick(StoryWords{"a cake", "pancakes", "a big pie", "soup and dumplings",
                                         "a fine dinner"}));
  t.writer.Set("shop", t.world.animals() ? "the old mill" : "the market");
  t.story.keyword = list[2];

  Introduce(t);
  t.writer.Say({
      "One day, {G:n} said, \"I want to make {meal}. Please go to {shop} and bring me {i1}, {i2} "
      "and {i3}. But be back before dark.\"",
      "\"Can you go to {shop} for me?\" {G:n} asked one morning. \"I need {i1}, {i2} and {i3}, "
      "because I want to make {meal}. Be home before dark.\"",
  });
  t.writer.Say({
      "\"{i1}, {i2} and {i3},\" said {A:n}. \"And home before dark. I promise!\"",
      "\"I promise,\" said {A:n} and took a basket. \"{i1}, {i2}, {i3},\" {A:s} sang on the way.",
  });
  t.writer.NewParagraph();
  t.writer.Say({
      "At {shop}, {A:n} got the {i1} and the {i2}.",
      "{A:n} ran to {shop}. First {A:s} got the {i1}, and then {A:s} got the {i2}.",
  });
  t.writer.Say({
      "Then {A:s} met {B:n}, a {B:k} who was crying. \"I cannot find my way home,\" {B:n} said.",
      "Just then, {B:n} came along, a {B:k} with a heavy bag. \"Can you help me carry it?\" {B:s} "
      "asked.",
      "There stood {B:n}, a {B:k} with a kite. \"Do you want to play?\" {B:s} asked.",
  });
  t.writer.Say({
      "{A:n} was friendly and went with {B:O}. When they were done, the sun was already low.",
      "So {A:n} stayed with {B:O} for a long time and forgot the hour.",
  });
  t.writer.Say({
      "Suddenly {A:n} looked up. The sky was turning red. \"I promised to be home before dark!\" "
      "{A:s} cried.",
      "The shadows grew long. \"My promise!\" cried {A:n}. \"And one thing is still missing!\"",
  });
  t.writer.Say({
      "What was it? {i1} and {i2} were in the basket. \"The {i3}!\" {A:s} said.",
      "{A} looked into the basket. There were the {i1} and the {i2}. But {A:s} could not see any "
      "{i3}.",
  });
  t.writer.Say({
      "{A:n} ran to {H:n}. \"Please, do you have {i3}?\" {A:s} asked. {H:n} smiled and gave {A:O} "
      "some.",
      "Luckily, {H:n} was still there and had some {i3} left. \"Run home now,\" {H:s} said.",
  });
  t.writer.Say({
      "{A:n} ran as fast as {A:s} could. The first star came out when {A:s} opened the door.",
      "Then {A:n} ran and ran. Just before it was dark, {A:s} was home.",
  });
  t.writer.NewParagraph();
  t.writer.Say({
      "\"Here are the {i1}, the {i2} and the {i3},\" said {A:n}[, out of breath|]. \"And it is not "
      "dark yet!\"",
      "{G:n} looked into the basket. \"{i1}, {i2} and {i3}. And just in time!\" {G:s} said.",
  });
  t.writer.Say({
      "Then {G:n} made {meal}, and it was the best that {A:n} had ever eaten.",
      "\"You kept your promise,\" said {G:n}. Together they made {meal} and ate until they were "
      "full.",
      "{A:n} told {G:O} about {B:n}. \"You helped somebody, and you kept your promise,\" said "
      "{G:n}. Then they ate {meal}.",
  });
}

// What was said about the weather in the morning comes true.
void TellWeather(StoryTelling& t) {
  StoryWorld& w = t.world;
  const bool rain = w.Chance(0.5);
  t.Cast("A", w.NewChild());
  t.Cast("B", w.NewChild());
  t.Cast("G", w.NewRelative());
  const std::string cover = rain ? w.Pick(StoryWords{"umbrella", "raincoat", "rain hat"})
                                 : w.Pick(StoryWords{"scarf", "coat", "woolen hat"});
  const std::string color = w.Pick(StoryWords{"red", "blue", "green", "yellow", "purple", "brown"});
  t.writer.Set("x", StoryThing{cover, color + " " + cover});
  t.writer.Set("p", w.NewOpenPlace());
  t.story.keyword = cover;
  DescribeDay(t, w.Weather("sunny"));

  Introduce(t);
  t.writer.Say({
      "{A} lived with {G:n}, who knew everything about the weather.",
      "{G:n} could tell the weather by looking at the [sky|birds|clouds].",
  });
  t.writer.NewParagraph();
  t.writer.Say({
      "One morning, {A} wanted to go {p:to} with {A:p} friend {B:n}. {weather}",
      "One {sky} morning, {A} and {B:n} wanted to play {p:in}.",
  });
  if (rain) {
    t.writer.Say({
        "\"The [birds|swallows] are flying low,\" said {G:n}. \"It will rain. Take {x}, {A:n}.\"",
        "\"Take {x} with you,\" said {G:n}. \"I can smell the rain.\"",
    });
  } else {
    t.writer.Say({
        "\"There is a ring around the sun,\" said {G:n}. \"It will be cold. Take {x}, {A:n}.\"",
        "\"Take {x} with you,\" said {G:n}. \"The wind comes from the north.\"",
    });
  }
  const bool listens = w.Chance(0.5);
  if (listens) {
    t.writer.Say({
        "{A:n} did not believe it, but {A:s} took {x} anyway.",
        "\"But the sun is shining!\" said {A:n}. Still, {A:s} put {x} in {A:p} bag.",
    });
    t.writer.Say({
        "{B:n} laughed. \"What do you need that for?\" {B:s} asked.",
        "\"You look funny with that,\" said {B:n}, who had taken nothing along.",
    });
  } else {
    t.writer.Say({
        "\"But the sun is shining!\" said {A:n} and left {x} by the door.",
        "{A:n} laughed and did not take {x}. It was so warm!",
    });
    t.writer.Maybe(0.5, {"{B:n}, however, [ran back|went home] to get something warm.",
                         "{B:n} looked at the sky and was not so sure."});
  }
  t.writer.Say({
      "They went {p:to} and played. They ran, they climbed and they laughed.",
      "{p:in}, they built a house of [leaves|stones|branches] and forgot everything else.",
  });
  if (rain) {
    t.writer.Say({
        "Then, all at once, the sky turned black. It thundered, and big drops fell.",
        "Around noon, dark clouds came, and it began to rain and rain.",
    });
  } else {
    t.writer.Say({
        "Then the wind turned. It became colder and colder, and the first snow fell.",
        "Around noon, the sun went away. An icy wind blew, and their noses turned red.",
    });
  }
  t.writer.NewParagraph();
  if (listens) {
    t.writer.Say({
        "\"Come here!\" {A:n} called. {A:s} took out {x}, and it was big enough for both of them.",
        "{B:n} shivered. Then {A:n} took out {x} and shared it with {B:o}.",
    });
    t.writer.Say({
        "\"I am sorry that I laughed,\" said {B:n}. \"{G:n} was right.\"",
        "\"How good that you took {x} along,\" said {B:n}.",
    });
    t.writer.Say({
        "At home, {G:n} was waiting with hot tea. \"Did you need {x}?\" {G:s} asked. They both "
        "nodded and laughed.",
        "When they came home, {G:n} only smiled. \"What will the weather be tomorrow?\" asked "
        "{B:n}.",
    });
  } else {
    t.writer.Say({
        "{A:n} thought of {x} by the door. \"If only I had listened!\" {A:s} said.",
        "\"I wish I had {x} with me,\" said {A:n}, and {A:p} teeth chattered.",
    });
    t.writer.Say({
        "They ran home as fast as they could. {A:n} was [cold to the bone|shaking all over].",
        "When they came home, {A:n} sneezed three times.",
    });
    t.writer.Say({
        "{G:n} put {A:O} to bed and brought hot tea. \"Next time I will take {x},\" said {A:n}.",
        "{G:n} did not scold {A:O}. {G:s} only put {x} around {A:p} shoulders. \"Tomorrow I will "
        "listen to you,\" said {A:n}.",
    });
  }
}

}  // namespace ckv
