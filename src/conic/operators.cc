#include "conic/operators.h"

#include <algorithm>
#include <iterator>

namespace ckv::conic {
namespace {

// Sorted by name.
constexpr Operator kOperators[] = {
    {"Abs", 1, 1, false},
    {"And", 2, 99, false},
    {"AngleOf", 3, 3, false},
    {"ApplyUnit", 2, 2, false},
    {"Area", 1, 1, false},
    {"Asymptote", 1, 1, false},
    {"Between", 3, 3, false},
    {"Center", 1, 1, false},
    {"CircumCircle", 1, 1, false},
    {"Circumcenter", 1, 1, false},
    {"Coordinate", 1, 1, false},
    {"Cos", 1, 1, false},
    {"Diameter", 1, 2, false},
    {"Directrix", 1, 1, false},
    {"Distance", 2, 2, true},
    {"DotProduct", 2, 2, true},
    {"Eccentricity", 1, 1, false},
    {"Endpoint", 1, 1, false},
    {"Eq", 2, 9, true},
    {"Expression", 1, 1, false},
    {"FocalLength", 1, 1, false},
    {"Focus", 1, 1, false},
    {"FootPoint", 2, 2, true},
    {"HalfFocalLength", 1, 1, false},
    {"ImageinaryAxis", 1, 1, false},
    {"In", 2, 2, false},
    {"Incenter", 1, 1, false},
    {"Inclination", 1, 1, false},
    {"InscribedCircle", 1, 1, false},
    {"InterReciprocal", 2, 2, true},
    {"Intercept", 2, 2, false},
    {"InterceptChord", 2, 2, false},
    {"Intersection", 1, 2, true},
    {"IsChordOf", 2, 2, false},
    {"IsCircumCircle", 2, 2, false},
    {"IsDiameter", 2, 2, false},
    {"IsInTangent", 2, 2, true},
    {"IsInscribedCircle", 1, 2, false},
    {"IsIntersect", 2, 2, true},
    {"IsOutTangent", 2, 2, true},
    {"IsParallel", 2, 2, true},
    {"IsPerpendicular", 2, 2, true},
    {"IsTangent", 2, 2, true},
    {"LeftDirectrix", 1, 1, false},
    {"LeftFocus", 1, 1, false},
    {"LeftPart", 1, 1, false},
    {"LeftVertex", 1, 1, false},
    {"Length", 1, 1, false},
    {"LineOf", 2, 2, true},
    {"LineSegmentOf", 2, 2, true},
    {"Locus", 1, 1, false},
    {"LocusEquation", 1, 1, false},
    {"LowerFocus", 1, 1, false},
    {"LowerVertex", 1, 1, false},
    {"MajorAxis", 1, 1, false},
    {"Max", 1, 1, false},
    {"MidPoint", 1, 1, false},
    {"Min", 1, 1, false},
    {"MinorAxis", 1, 1, false},
    {"Negation", 1, 1, false},
    {"NumIntersection", 2, 2, true},
    {"OneOf", 1, 1, false},
    {"Orthocenter", 1, 1, false},
    {"OverlappingLine", 1, 2, false},
    {"Perimeter", 1, 1, false},
    {"PerpendicularBisector", 1, 1, false},
    {"PointOnCurve", 2, 2, false},
    {"Projection", 2, 2, false},
    {"Quadrant", 1, 1, false},
    {"Radius", 1, 1, false},
    {"Range", 1, 1, false},
    {"RealAxis", 1, 1, false},
    {"RightDirectrix", 1, 1, false},
    {"RightFocus", 1, 1, false},
    {"RightPart", 1, 1, false},
    {"RightVertex", 1, 1, false},
    {"Sin", 1, 1, false},
    {"Slope", 1, 1, false},
    {"SymmetryAxis", 1, 1, false},
    {"Tan", 1, 1, false},
    {"TangentOfPoint", 2, 2, false},
    {"TangentOnPoint", 2, 2, false},
    {"TangentPoint", 2, 2, true},
    {"TriangleOf", 3, 3, true},
    {"UpperFocus", 1, 1, false},
    {"UpperVertex", 1, 1, false},
    {"VectorOf", 2, 2, false},
    {"Vertex", 1, 1, false},
    {"WhenMax", 1, 1, false},
    {"WhenMin", 1, 1, false},
    {"XCoordinate", 1, 2, false},
    {"YCoordinate", 1, 1, false},
    {"lg", 1, 1, false},
    {"ln", 1, 1, false},
    {"sqrt", 1, 1, false},
};
static_assert(std::size(kOperators) == kNumOperators);

// Names that are functions of one argument, sorted; ln is log.
constexpr std::string_view kBuiltins[] = {
    "Abs",   "acos", "acosh", "acot", "acoth", "acsc",      "acsch", "asec",
    "asech", "asin", "asinh", "atan", "atanh", "cbrt",      "cos",   "cosh",
    "cot",   "coth", "csc",   "csch", "exp",   "factorial", "ln",    "log",
    "sec",   "sech", "sin",   "sinh", "sqrt",  "tan",       "tanh",
};

constexpr std::string_view kNotCallable[] = {
    "Circle", "Curve",    "Ellipse", "Le",  "Line",     "Ne",
    "Number", "Parabola", "Point",   "Ray", "Triangle",
};

// Without the functions above.
constexpr std::string_view kNotAlone[] = {
    "And", "Ci",   "Circle",       "Curve", "DotProduct", "E1",    "Ellipse",
    "Eq",  "Expr", "Intersection", "Le",    "Li",         "Line",  "Max",
    "Min", "Ne",   "Number",       "Or",    "Parabola",   "Point", "Range",
    "Ray", "Si",   "Triangle",     "deg",   "gamma",
};

constexpr std::string_view kReserved[] = {
    "and",    "as",   "assert", "async",  "await",  "break",   "class",    "continue",
    "def",    "del",  "elif",   "else",   "except", "finally", "for",      "from",
    "global", "if",   "import", "in",     "is",     "lambda",  "nonlocal", "not",
    "or",     "pass", "raise",  "return", "try",    "while",   "with",     "yield",
};

template <size_t N>
bool Contains(const std::string_view (&names)[N], std::string_view name) {
  return std::find(std::begin(names), std::end(names), name) != std::end(names);
}

}  // namespace

const Operator* FindOperator(std::string_view name) {
  const auto* found = std::lower_bound(
      std::begin(kOperators), std::end(kOperators), name,
      [](const Operator& entry, std::string_view key) { return entry.name < key; });
  return found != std::end(kOperators) && found->name == name ? found : nullptr;
}

bool IsOrderFree(std::string_view name) {
  if (name == "set" || name == "IsSeparated") return true;
  const Operator* found = FindOperator(name);
  return found != nullptr && found->order_free;
}

std::string_view BuiltinName(std::string_view name) {
  if (!Contains(kBuiltins, name)) return {};
  return name == "ln" ? "log" : name;
}

bool CannotBeCalled(std::string_view name) { return Contains(kNotCallable, name); }

bool CannotStandAlone(std::string_view name) {
  return Contains(kNotAlone, name) || Contains(kBuiltins, name);
}

bool IsReservedWord(std::string_view name) { return Contains(kReserved, name); }

}  // namespace ckv::conic
