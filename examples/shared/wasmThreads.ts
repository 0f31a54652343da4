/**
 * Lets tfjs have threads on wasm in a minified page. It makes their workers of the text of a function that asks for a
 * variable which minifiers answer for: `docs/bundlers.md`.
 */
export function wasmThreads() {
  return {
    name: 'wasm-threads',
    transform: (code: string, id: string) =>
      id.includes('tfjs-backend-wasm-threaded-simd.js')
        ? code.replace(/typeof _scriptDir *!== *"undefined" *&& *_scriptDir/, 'false')
        : undefined,
  };
}
