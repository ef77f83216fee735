// Evaluated forms of terms.
//
// Exchanging a name in the authors' scorer rebuilds, with evaluation, every node above the name, so
// statements with exchanged names compare in a normal form and others as written.
#pragma once

#include "conic/term.h"

namespace ckv::conic {

// The negative of a term, with the sign carried out: a number's, a product's first number's, every
// term's of a sum.
TermId Negate(TermId id, TermPool* pool);

// The term with all nodes that hold a symbol of a side (Term::has_alignable) in normal form: sums
// and products flat, numbers folded, equal terms and factors collected, a number multiplied into a
// sum, Abs of products and differences made canonical.
TermId Rebuild(TermId id, TermPool* pool);

}  // namespace ckv::conic
