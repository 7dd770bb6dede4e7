/** How generator.c spreads its flows; the same numbers stand there. */
export const BASE_PORT = 5000;
export const FLOWS_PER_PORT = 65_536;
