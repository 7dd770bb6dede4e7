/** Finds the native addon of this project. What is in it is declared by those who use it. */
import { createRequire } from "node:module";

/** From src/base as well as from dist/src/base. */
const PLACES = [
  "../../native/build/Release/pbs_native.node",
  "../../../native/build/Release/pbs_native.node",
];

let loaded: unknown;

/** The addon, loaded at the first call. Throws when it was not built. */
export function addon(): unknown {
  loaded ??= load();
  return loaded;
}

function load(): unknown {
  return createRequire(import.meta.url)(addonFile());
}

/** Where it is; what is built with it stands beside it. Throws when it was not built. */
export function addonFile(): string {
  const require = createRequire(import.meta.url);
  for (const place of PLACES) {
    const path = resolved(require, place);
    if (path !== undefined) return path;
  }
  throw new Error("the native addon is missing; build it with: npm run build:native");
}

function resolved(require: NodeJS.Require, place: string): string | undefined {
  try {
    return require.resolve(place);
  } catch {
    return undefined;
  }
}
