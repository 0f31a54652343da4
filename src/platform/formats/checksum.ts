/**
 * A 64-bit checksum of texts and bytes in order: FNV-1a from two starts. It detects accidental changes, not deliberate
 * ones.
 */
export function checksumOf(...parts: readonly (string | ArrayBuffer)[]): string {
  let [a, b] = [0x811c9dc5, 0x01000193];
  const add = (code: number, i: number) => {
    a = Math.imul(a ^ code, 0x01000193);
    b = Math.imul(b ^ (code + i), 0x85ebca6b);
  };
  for (const data of parts) {
    if (typeof data === 'string') {
      for (let i = 0; i < data.length; i++) {
        add(data.charCodeAt(i), i);
      }
    } else {
      new Uint8Array(data).forEach(add);
    }
  }
  return `${(a >>> 0).toString(16)}-${(b >>> 0).toString(16)}`;
}
