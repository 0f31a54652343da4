/** Decodes base 64 into a new buffer. Throws if the text is something else. */
export function bytesOfBase64(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(atob(text), character => character.charCodeAt(0));
}

/** Encodes bytes as base 64. */
export function base64Of(bytes: Uint8Array): string {
  let text = '';
  // In parts, because the number of arguments of a function is limited.
  for (let i = 0; i < bytes.length; i += 0x8000) {
    text += String.fromCharCode(...bytes.subarray(i, i + 0x8000));
  }
  return btoa(text);
}
