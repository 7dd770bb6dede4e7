/**
 * The bits of packets' marks that are ours, whatever is configured. No two kinds share a bit, and no rule of the machine may
 * set any of them.
 */

/** Packets with AH that the engine sends by a socket of its own. As SENT_MARK in native/emit.h. */
export const SENT_MARK = 0x0008_0000;

/**
 * Packets that share a kernel set's element with a flow that gets AH, and get none. As ASIDE_MARK in native/engine.h.
 */
export const ASIDE_MARK = 0x0010_0000;

/** The number of a packet's path. As PATH_MASK in native/engine.h. */
export const PATH_MASK = 0x0f80_0000;

/**
 * Signalling that has to leave another way than the kernel would take: this, plus a number. So many bits that no rule for
 * a bit or two of a mark is likely to fit.
 */
export const EXIT_MARK = 0x2024_2a00;
/** Of the numbers, which begin with 1. */
export const EXIT_NUMBERS = 0x3f;

/** Signalling that is taken: of a stranger, and of one that was turned away a moment ago. Numbers that no way out has. */
export const STRANGER_MARK = EXIT_MARK + 0x3e;
export const AGAIN_MARK = EXIT_MARK + 0x3f;

/** All of them. */
export const OUR_MARKS = SENT_MARK | ASIDE_MARK | PATH_MASK | EXIT_MARK | EXIT_NUMBERS;
