import {fileURLToPath} from 'node:url';

/** The path of a file in an installed package, wherever the script is started from. */
export function packageFile(path: string): string {
  return fileURLToPath(new URL(`../../node_modules/${path}`, import.meta.url));
}
