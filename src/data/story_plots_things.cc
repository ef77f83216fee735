// Plans about things: lost, traded, broken, found, passed on.
#include <cstddef>
#include <string>
#include <vector>

#include "base/str.h"
#include "data/story_plots.h"

namespace ckv {

// A present is left behind at a place that the story named; remembering the day finds it.
void TellLostThing(StoryTelling& t) {
  StoryWorld& w = t.world;
  t.Cast("A", w.NewChild());
  t.Cast("B", w.NewChild());
  const StoryPerson giver = w.NewRelative();
  t.Cast("G", giver);
  const StoryThing thing = w.Chance(0.5) ? w.NewToy() : w.NewTreasure();
  const StoryPlace place = w.NewOpenPlace();
  t.writer.Set("x", thing);
  t.writer.Set("p", place);
  const std::string spot = w.Pick(place.spots);
  t.writer.Set("spot", spot);
  const StoryPlace home = w.Home();
  t.writer.Set("h1", home.spots[0]);
  t.writer.Set("h2", w.Pick(StoryWords{home.spots[1], home.spots[2], home.spots[3]}));
  t.story.keyword = thing.noun;

  Introduce(t);
  t.writer.Say({
      "{A:P} favorite thing was {x:a}. It was a present from {G:n}.",
      "One day, {G:n} gave {A:O} {x:a}. {A} [loved it at once|was very happy|took it everywhere].",
      "{A} had {x:a} that {G:n} had [made|found|bought] for {A:o}. {A} took it everywhere.",
      "For {A:p} birthday, {G:n} gave {A:O} {x:a}. [It was the best present of all.|{A} loved it "
      "very much.]",
  });
  t.writer.Maybe(0.5, {
                          "\"[Take good care of it|Please do not lose it|Keep it safe]!\" said "
                          "{G:n}. \"I will,\" said {A:n}.",
                          "{A} promised to take good care of it.",
                      });
  t.writer.NewParagraph();
  DescribeDay(t, w.NewWeather());
  t.writer.Say({
      "One {sky} {part}, {A} [took|carried] {x} {p:to}.",
      "On a {sky} {part}, {A} went {p:to} with {x}.",
      "Then came a {sky} {part}. {A} went {p:to} and took {x} along.",
  });
  t.writer.Maybe(0.4, {"{weather}"});
  t.writer.Set(
      "reason",
      w.Pick(StoryWords{"wanted to run after a butterfly", "wanted to climb a tree",
                        "heard music and wanted to dance",
                        "wanted to look for a bird that was singing", "wanted to collect stones",
                        "was hungry and wanted to eat", "was tired and wanted to rest"}));
  t.writer.Say({
      "After a while, {A} [put|laid] {x} {spot}, because {A:s} {reason}.",
      "{A} played for a long time. Then {A:s} left {x} {spot}, because {A:s} {reason}.",
      "{A} {reason}, so {x} [stayed|was left] {spot}.",
  });
  t.writer.Say({
      "When it was time for dinner, {A} went home and did not think of {x}.",
      "Soon it grew late, and {A} [ran|hurried|walked] home without {x}.",
      "Then {G:n} called, and {A} ran home quickly. {A:P} hands were empty.",
  });
  t.writer.NewParagraph();
  t.writer.Say({
      "[That evening|At bedtime|Before bed], {A} wanted {x}, but it was not there. {A} looked {h1} "
      "and {h2}, but {A:s} could not find it.",
      "The next morning, {A} looked for {x}. It was not {h1}. It was not {h2}. \"Where is it?\" "
      "{A:s} [asked|cried].",
      "[Later|In the evening], {A} saw that {x} was gone. {A} looked {h1}. {A} looked {h2}. There "
      "was nothing.",
  });
  t.writer.Say({
      "{A} was [very sad|so sad that {A:s} began to cry|worried and sad].",
      "Tears came to {A:p} eyes. \"I lost my {x:n}!\" {A:s} said.",
      "{A} felt [awful|terrible|very sorry], because it had been a present from {G:n}.",
  });
  t.writer.Say({
      "{B:n} came to help. \"Where did you play [yesterday|today|last]?\" {B:s} asked.",
      "{A:P} friend {B:n} heard [about it|the news] and came over. \"Let's think. Where did you "
      "have it last?\" {B:s} asked.",
      "\"Don't cry,\" said {B:n}, who was {A:p} friend. \"Where did you go with it?\"",
  });
  t.writer.Say({
      "{A} thought hard. \"I was {p:in},\" {A:s} said. \"Then let's look there!\" said {B:n}.",
      "\"I took it {p:to},\" said {A:n}. So the two friends went {p:to} together.",
      "{A} remembered. \"{p:in}! I had it {p:in}!\" {A:s} said. They went there at once.",
  });
  t.writer.Say({
      "They looked everywhere. At last, {B:n} looked {spot}, and there was {x}!",
      "And there it was! {x} was still {spot}.",
      "{A} looked {spot}. There lay {x}, [safe and dry|a little dirty|just as before].",
      "They [walked|looked] around, and {B:n} called, \"Come here!\" {x} was {spot}, where {A:n} "
      "had left it.",
  });
  ThankFriend(t);
  t.writer.Say({
      "From that day on, {A:n} always [looked twice|checked] before going home, and {x} was never "
      "lost again.",
      "At home, {A:n} put {x} in a safe place and told {G:n} the whole story. {G:n} "
      "[smiled|laughed].",
      "{A} held {x} [tightly|close] all the way home. \"I will never leave {G:p} present behind "
      "again,\" {A:s} said.",
      "That night, {A:n} fell asleep with {x} beside {A:o}.",
  });
}

// Each has what the other wants; the end knows who has what.
void TellTrade(StoryTelling& t) {
  StoryWorld& w = t.world;
  t.Cast("A", w.NewChild());
  t.Cast("B", w.NewChild());
  StoryThing first = w.NewToy();
  StoryThing second = w.NewTreasure();
  t.writer.Set("x", first);
  t.writer.Set("y", second);
  t.writer.Set("p", w.NewPlace());
  t.story.keyword = first.noun;

  Introduce(t);
  t.writer.Say({
      "{A} had {x:a}, but {A:s} did not play with it [anymore|very often].",
      "{A} owned {x:a}. It was nice, but {A:s} [had grown tired of it|wished for something else].",
      "In {A:p} room, there was {x:a}. {A} had played with it so often that it was boring now.",
  });
  t.writer.Say({
      "What {A:s} really wanted was {y:a}.",
      "{A} dreamed of having {y:a}.",
      "More than anything, {A} wished for {y:a}.",
  });
  t.writer.NewParagraph();
  OpenDay(t);
  t.writer.Say({
      "{when}, {A:n} [went {p:to}|was {p:in}] and met {B:n}, a {B:k} with {y:a}.",
      "{A} took {x} {p:to}. There was a {B:k} named {B:n}, and {B:s} had {y:a}!",
      "Then {A:n} met {B:n} {p:in}. {B:n} was a {B:k}, and {B:s} was carrying {y:a}.",
  });
  t.writer.Say({
      "\"What a [nice|beautiful|wonderful] {y:n}!\" said {A:n}. \"Where did you get it?\"",
      "\"I like your {y:n},\" said {A:n}. \"I have always wanted one.\"",
      "{A} could not stop looking at it. \"May I see your {y:n}?\" {A:s} asked.",
  });
  t.writer.Say({
      "\"[I got it last year|My aunt gave it to me|I found it in an old box],\" said {B:n}. \"But "
      "I would rather have a {x:n} like yours.\"",
      "{B:n} sighed. \"It is nice, but I never use it. I wish I had a {x:n}.\"",
      "{B:n} looked at {x}. \"And I like your {x:n},\" {B:s} said. \"I don't have one.\"",
  });
  t.writer.Maybe(0.3, {
                          "{A} thought about it for a long time. Would {A:s} miss {x}?",
                          "They looked at each other and began to smile.",
                          "{A} was not sure. {x} had been {A:p} toy for so long.",
                      });
  t.writer.Say({
      "\"Let's trade!\" said {A:n}. \"You can have my {x:n}, and I will take your {y:n}.\"",
      "Then {A:n} had an idea. \"Do you want to trade?\" {A:s} asked.",
      "\"We could trade,\" said {B:n}. {A:n} thought that this was a great idea.",
  });
  t.writer.Say({
      "So {A:n} gave {x} to {B:n}, and {B:n} gave {y} to {A:n}.",
      "{A:n} handed {x} to {B:n} and got {y} for it.",
      "They shook hands. {B:n} took {x}, and {A:n} took {y}.",
  });
  t.writer.NewParagraph();
  t.writer.Say({
      "Now {A:n} had {y} and {B:n} had {x}, and both were [happy|very happy|pleased].",
      "When {A:n} came home, {A:s} showed everybody {y}. At the same time, {B:n} was playing with "
      "{x}.",
      "All afternoon, {B:n} played with {x} and {A:n} did not let go of {y}.",
  });
  t.writer.Say({
      "It was a good trade.",
      "\"What a good trade,\" said {A:n}. And they [stayed|became] friends.",
      "Sometimes {A:n} visited {B:n}, and then they played with {x} and {y} together.",
      "{A} smiled. {B:n} was happy with {x}, and that felt even better than having {y}.",
  });
}

// A borrowed thing breaks; telling the truth is hard and good.
void TellBrokenThing(StoryTelling& t) {
  StoryWorld& w = t.world;
  t.Cast("A", w.NewChild());
  t.Cast("B", w.NewChild());
  t.Cast("G", w.NewRelative());
  const StoryThing thing = w.NewToy();
  t.writer.Set("x", thing);
  t.writer.Set("p", w.NewOpenPlace());
  const StoryPlace home = w.Home();
  t.writer.Set("spot", w.Pick(StoryWords{home.spots[0], home.spots[1], home.spots[3]}));
  t.writer.Set("crash", w.Pick(StoryWords{
                            "fell from {A:p} hands and broke in two", "hit a stone and broke",
                            "got stuck in a door and was torn", "rolled down the stairs and broke",
                            "fell into the mud, and one part came off"}));
  t.story.keyword = thing.noun;

  Introduce(t);
  t.writer.Say({
      "{A:P} friend {B:n} had {x:a}. It was the nicest {x:n} [of all|anybody had ever seen].",
      "{B:n} was {A:p} friend, and {B:s} owned {x:a}. {A} thought it was wonderful.",
  });
  t.writer.Say({
      "\"May I borrow your {x:n}?\" {A:n} asked. \"Yes, but please be careful,\" said {B:n}.",
      "One day, {B:n} said, \"You can play with it until tomorrow. But take care of it.\" {A:n} "
      "promised to be careful.",
      "{A:n} asked if {A:s} could have it for one day. \"All right,\" said {B:n}. \"Be careful "
      "with it.\"",
  });
  t.writer.NewParagraph();
  OpenDay(t);
  t.writer.Say({
      "{A:n} took {x} {p:to} and played with it. {A} was [too wild|not careful enough|in a hurry].",
      "At first, {A:n} was careful. But then {A:s} began to run {p:in}.",
      "{A:n} played {p:in} all afternoon, and the game became wilder and wilder.",
  });
  t.writer.Say(
      {"Suddenly, {x} [hit a stone and broke|fell to the ground and broke in two|slipped out of "
       "{A:p} hands and broke|hit the wall, and one part came off]."});
  t.writer.Say({
      "\"Oh no!\" {A:s} cried. \"What will {B:n} say?\"",
      "{A} stood very still. {A:P} face turned [red|white].",
      "{A} felt sick. {B:n} had told {A:o} to be careful.",
  });
  const bool hid = w.Chance(0.6);
  if (hid) {
    t.writer.Say({
        "{A} went home and hid {x} {spot}. But {A:s} could not eat and could not sleep.",
        "At home, {A:s} put {x} {spot}, so that nobody would see it. But {A:s} thought about it "
        "all night.",
    });
    t.writer.Say({
        "{G:n} saw that something was wrong. \"What is it?\" {G:s} asked, and {A:n} told {G:o} "
        "everything.",
        "\"You look so sad,\" said {G:n}. Then {A:n} showed {G:o} what was hidden {spot}.",
    });
    t.writer.Say({
        "\"Tell {B:n} the truth,\" said {G:n}. \"That is hard, but it is the right thing to do.\"",
        "\"A true word is better than a good hiding place,\" said {G:n}. \"Go and tell {B:n}.\"",
    });
  } else {
    t.writer.Say({
        "{A} wanted to hide it. But then {A:s} thought, \"I have to tell the truth.\"",
        "First, {A} wanted to say that it was the wind. But that was not true.",
    });
  }
  t.writer.NewParagraph();
  t.writer.Say({
      "So {A:n} went to {B:n} with {x}. \"I broke it,\" {A:s} said. \"I am so sorry.\"",
      "The next morning, {A:n} took {x} and knocked on {B:P} door. \"I was not careful, and it "
      "broke. I am sorry,\" {A:s} said.",
  });
  t.writer.Say({
      "{B:n} looked at {x} and was sad. But then {B:s} said, \"Thank you for telling me the "
      "truth.\"",
      "First {B:n} was angry. Then {B:s} saw the tears in {A:P} eyes. \"It is good that you told "
      "me,\" {B:s} said.",
  });
  t.writer.Say({
      "{G:n} had some [glue|tools], and together they [fixed|mended] {x}.",
      "\"Maybe we can fix it,\" said {B:n}. {G:n} helped them, and in the evening {x} was "
      "[whole|almost as good as new].",
      "The three of them, {A:n}, {B:n} and {G:n}, worked all afternoon until {x} was whole again.",
  });
  t.writer.Say({
      "[You could see a thin line where it had been broken|It did not look the same], but {B:n} "
      "liked {x} even more than before.",
      "\"Now we have fixed it together,\" said {B:n}. \"It belongs to both of us a little.\"",
      "From then on, {A:n} was careful with the things of other people, and {A:s} always told the "
      "truth.",
  });
}

// Somebody's lost thing is found; a detail said early proves whose it is.
void TellOwner(StoryTelling& t) {
  StoryWorld& w = t.world;
  t.Cast("A", w.NewChild());
  t.Cast("H", w.NewHelper());
  t.Cast("B", w.NewChild());
  const StoryThing thing = w.NewTreasure();
  const StoryPlace place = w.NewPlace();
  t.writer.Set("x", thing);
  t.writer.Set("p", place);
  t.writer.Set("spot", w.Pick(place.spots));
  const std::string mark =
      w.Pick(StoryWords{"star", "moon", "flower", "fish", "heart", "leaf", "crown", "sun"});
  t.writer.Set("mark", mark);
  t.story.keyword = mark;
  t.writer.Set("reward",
               w.Pick(StoryWords{"a warm pie", "a bag of nuts", "three sweet apples",
                                 "a jar of jam", "a loaf of fresh bread", "a box of cookies"}));

  Introduce(t);
  OpenDay(t);
  t.writer.Say({
      "{when}, {A} found {x:a} {p:in}. It lay {spot}.",
      "{when}, {A} was {p:in} when {A:s} saw something {spot}. It was {x:a}.",
      "{when}, {A} went {p:to}. There, {spot}, lay {x:a}.",
  });
  t.writer.Say({
      "On the back, there was a tiny {mark}.",
      "{A} looked at it closely. Somebody had drawn a little {mark} on it.",
      "It was pretty, and it had a small {mark} on one side.",
  });
  t.writer.Say({
      "\"Somebody must have lost it,\" {A} thought. \"I will find out who.\"",
      "{A} would have liked to keep it. But it belonged to somebody else.",
      "\"It is so nice, but it is not mine,\" said {A:n}.",
  });
  t.writer.NewParagraph();
  t.writer.Say({
      "First {A} met {B:n}. \"Did you lose something?\" {A:s} asked. \"Oh yes, that {x:n} is "
      "mine!\" said {B:n}[| quickly].",
      "On the way, {A:s} met a {B:k} named {B:n}. \"Give it to me. It is my {x:n},\" said {B:n}.",
  });
  t.writer.Say({
      "\"What is drawn on it?\" asked {A:n}. \"A [cat|bird|house|horse],\" said {B:n}. That was "
      "wrong, so {A:n} did not give it to {B:o}.",
      "\"Then tell me what is drawn on it,\" said {A:n}. {B:n} did not know. {B:s} turned red and "
      "walked away.",
  });
  t.writer.Say({
      "Then {A:n} came to {H:n}, who was looking for something on the ground. \"Did you lose "
      "something?\" asked {A:n}.",
      "A little later, {A:n} saw {H:n}. {H:s} looked [worried|very sad]. \"What is the matter?\" "
      "{A:n} asked.",
  });
  t.writer.Say({
      "\"I lost my {x:n},\" said {H:n}. \"It has a {mark} on it. My mother drew it for me when I "
      "was small.\"",
      "\"My {x:n} is gone,\" said {H:n}. \"You would know it by the little {mark}.\"",
  });
  t.writer.Say({
      "{A:n} held out {A:p} hand. There was {x} with the {mark}. \"Is this yours?\" {A:s} asked.",
      "\"Then this is yours,\" said {A:n} and gave {H:o} {x}.",
  });
  t.writer.NewParagraph();
  t.writer.Say({
      "{H:n} was so happy that {H:s} gave {A:n} {reward}.",
      "\"You are an honest {A:k},\" said {H:n} and gave {A:n} {reward}.",
      "{H:n} pressed {x} to {H:p} heart. \"Thank you! Please take {reward},\" {H:s} said.",
  });
  t.writer.Say({
      "{A:n} went home with {reward} and told everybody about the {mark}.",
      "On the way home, {A:n} thought of the little {mark} and smiled.",
      "And whenever {A:n} saw a {mark} after that, {A:s} thought of {H:n}.",
  });
}

// A thing goes from hand to hand; who looks for it asks one after the other.
void TellHands(StoryTelling& t) {
  StoryWorld& w = t.world;
  t.Cast("A", w.NewChild());
  t.Cast("B", w.NewChild());
  t.Cast("C", w.NewChild());
  const StoryThing thing = w.Chance(0.5) ? w.NewToy() : w.NewTreasure();
  t.writer.Set("x", thing);
  t.writer.Set("p", w.NewOpenPlace());
  t.writer.Set("spot", w.Pick(w.Home().spots));
  t.story.keyword = thing.noun;

  OpenDay(t);
  t.writer.Say({
      "{when}, {A:n}, {B:n} and {C:n} were playing {p:in}. {A:n} had {x:a}.",
      "{A:n}, {B:n} and {C:n} were friends. {A:n} had brought {x:a} {p:to}.",
      "Three friends met {p:in}: {A:n}, {B:n} and {C:n}. {A:n} was holding {x:a}.",
  });
  t.writer.Say({
      "\"May I have it for a while?\" asked {B:n}. \"Yes,\" said {A:n} and gave it to {B:o}.",
      "After some time, {A:n} was tired of it and gave it to {B:n}.",
      "{B:n} looked at it so long that {A:n} gave it to {B:o}.",
  });
  t.writer.Say({
      "{B:n} played with it until {B:s} was hungry. Then {B:s} gave it to {C:n} and went to eat "
      "something.",
      "Later, {B:n} had to go home, so {B:s} handed {x} to {C:n}.",
      "{B:n} was a good friend, and soon {B:s} passed it on to {C:n}.",
  });
  t.writer.Say({
      "In the evening, {C:n} took it home and put it {spot}.",
      "{C:n} carried {x} home and laid it {spot}, where it was safe.",
  });
  t.writer.NewParagraph();
  t.writer.Say({
      "The next day, {A:n} wanted {x}. \"I gave it to {B:n},\" {A:s} thought, and went to {B:o}.",
      "The next morning, {A:n} looked for {x}. Who had it? {A:n} had given it to {B:n}, so {A:s} "
      "asked {B:o}.",
  });
  t.writer.Say({
      "\"I do not have it anymore,\" said {B:n}. \"I gave it to {C:n}.\"",
      "\"{C:n} has it,\" said {B:n}. \"I gave it to {C:o} yesterday.\"",
  });
  t.writer.Say({
      "So they went to {C:n}. \"Do you have my {x:n}?\" {A:n} asked. \"Of course,\" said {C:n}. "
      "\"It is {spot}.\"",
      "They knocked on {C:P} door. \"We are looking for {x},\" they said. {C:n} smiled. \"It is "
      "{spot},\" {C:s} said.",
  });
  t.writer.Say({
      "And there it was. {A:n} was glad, and all three of them played with {x} again.",
      "{A:n} looked {spot}, and there it was. \"Thank you for keeping it safe, {C:n},\" said "
      "{A:n}.",
  });
}

// Three have hats of three colors, the wind mixes them up, and each gets the right one back.
void TellHats(StoryTelling& t) {
  StoryWorld& w = t.world;
  t.Cast("A", w.NewChild());
  t.Cast("B", w.NewChild());
  t.Cast("C", w.NewChild());
  StoryWords colors = {"red", "blue", "green", "yellow", "white", "brown", "pink", "black"};
  for (const char* slot : {"c1", "c2", "c3"}) {
    size_t at = w.Chance(0.5) ? 0 : 2;
    if (w.Chance(0.5)) ++at;
    t.writer.Set(slot, colors[at]);
    colors.erase(colors.begin() + static_cast<std::ptrdiff_t>(at));
  }
  const StoryThing hat = w.Pick(std::vector<StoryThing>{{"hat", "hat"},
                                                        {"cap", "cap"},
                                                        {"balloon", "balloon"},
                                                        {"scarf", "scarf"},
                                                        {"kite", "kite"}});
  t.writer.Set("h", hat);
  t.writer.Set("hs", hat.noun == "scarf" ? std::string("scarves") : hat.noun + "s");
  t.writer.Set("p", w.NewOpenPlace());
  t.story.keyword = hat.noun;
  DescribeDay(t, w.Weather("windy"));

  t.writer.Say({
      "{A:n} had a {c1} {h:n}, {B:n} had a {c2} {h:n}, and {C:n} had a {c3} {h:n}.",
      "There were three friends. {A:n} had a {c1} {h:n}. {B:n} had a {c2} {h:n}. {C:n} had a {c3} "
      "{h:n}.",
  });
  t.writer.Say({
      "One {sky} {part}, they went {p:to} together. {weather}",
      "On a {sky} {part}, the three of them met {p:in}.",
  });
  t.writer.Say({
      "Suddenly, the wind took the {hs} away, up and over the trees.",
      "Then the wind came, and whoosh, everything flew away: {c1}, {c2} and {c3}.",
  });
  t.writer.Say({
      "\"Catch them!\" cried {B:n}, and they ran after them.",
      "They ran and jumped, and they laughed and shouted.",
  });
  t.writer.NewParagraph();
  t.writer.Say({
      "{C:n} was the fastest and caught the {c1} {h:n}. {A:n} found the {c2} {h:n} in a bush. And "
      "{B:n} saw the {c3} {h:n} in the grass.",
      "The {c1} {h:n} landed in front of {C:n}. The {c2} {h:n} fell on {A:P} head. The {c3} {h:n} "
      "hung on a branch, and {B:n} took it down.",
  });
  t.writer.Say({
      "\"This is not mine,\" said {C:n}. \"The {c1} one belongs to {A:n}.\"",
      "\"Who has the {c1} one?\" asked {A:n}. \"I do,\" said {C:n}, \"and it is yours.\"",
  });
  t.writer.Say({
      "So {C:n} gave the {c1} {h:n} to {A:n}, {A:n} gave the {c2} {h:n} to {B:n}, and {B:n} gave "
      "the {c3} {h:n} to {C:n}.",
      "{A:n} got the {c1} {h:n} back, {B:n} got the {c2} {h:n}, and {C:n} got the {c3} {h:n}.",
  });
  t.writer.Say({
      "Now everybody had the right {h:n} again.",
      "And on the way home, they all held their {hs} tightly.",
      "\"That was fun,\" said {B:n}. \"But now let's go home before the wind comes back.\"",
  });
}

// A key is found early; much later there is a locked box that it opens.
void TellKey(StoryTelling& t) {
  StoryWorld& w = t.world;
  t.Cast("A", w.NewChild());
  t.Cast("B", w.NewChild());
  t.Cast("G", w.NewRelative());
  const StoryPlace place = w.NewPlace();
  t.writer.Set("p", place);
  t.writer.Set("spot", w.Pick(place.spots));
  const std::string metal =
      w.Pick(StoryWords{"golden", "silver", "rusty", "tiny", "black", "green"});
  t.writer.Set("k", StoryThing{"key", metal + " key"});
  t.writer.Set("x", w.Chance(0.5) ? w.NewTreasure() : w.NewToy());
  t.writer.Set("room", w.Pick(StoryWords{"under the roof", "in the cellar", "behind the stairs",
                                         "in an old shed"}));
  t.story.keyword = "key";

  Introduce(t);
  OpenDay(t);
  t.writer.Say({
      "{when}, {A} played {p:in} and found {k:a} {spot}.",
      "When {A} was {p:in}, something was shining {spot}. It was {k:a}!",
  });
  t.writer.Say({
      "\"What does it open?\" {A:s} wondered. {A} tried it on every door, but it did not fit.",
      "{A} tried the front door, the back door and the garden gate. The key did not fit anywhere.",
  });
  t.writer.Say({
      "So {A:s} hung {k} around {A:p} neck and waited.",
      "\"Every key has a lock,\" said {G:n}. \"Keep it.\" So {A:n} put {k} in {A:p} pocket.",
  });
  t.writer.NewParagraph();
  t.writer.Say({
      "[Weeks went by|Many days passed|Summer passed]. One rainy afternoon, {A:n} and {A:p} friend "
      "{B:n} were playing hide and seek at home.",
      "[A month later|In autumn], {B:n} came to visit. {B:n} was {A:p} friend. It rained, so they "
      "played in the house.",
  });
  t.writer.Say({
      "{B:n} wanted to hide {room}, and there {B:s} saw an old box. \"{A:n}! Come and look!\" "
      "{B:s} called.",
      "{room}, they found an old box, covered with dust.",
  });
  t.writer.Say({
      "The box was locked. They pulled and pushed, but it did not open.",
      "\"It is locked,\" said {B:n}. \"What a pity!\"",
  });
  t.writer.Say({
      "Then {A:n} remembered {k}. {A} took it out with shaking hands. Click! It fit.",
      "\"Wait!\" said {A:n}. \"I have a key!\" {A} put {k} into the lock and turned it. Click!",
  });
  t.writer.Say({
      "In the box, there was {x:a} and a letter.",
      "They opened the box. Inside lay {x:a} and an old letter.",
  });
  t.writer.NewParagraph();
  t.writer.Say({
      "They ran to {G:n} with it. {G:n} became very quiet. \"This was mine when I was little,\" "
      "{G:s} said. \"I lost the key {p:in}, so many years ago.\"",
      "{G:n} read the letter and smiled. \"I wrote it when I was as old as you,\" {G:s} said. "
      "\"Then I lost the key {p:in}.\"",
  });
  t.writer.Say({
      "\"And I found it {spot}!\" said {A:n}.",
      "\"It lay {spot}, all that time,\" said {A:n}.",
  });
  t.writer.Say({
      "{G:n} held {x} in {G:p} hands for a long time. Then {G:s} gave it to {A:n} and {B:n}. \"Now "
      "it is yours,\" {G:s} said.",
      "\"You may keep {x},\" said {G:n}. \"But I would like to have {k}.\" And {A:n} gave it to "
      "{G:o}.",
  });
}

}  // namespace ckv
