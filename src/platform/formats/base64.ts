/** The bytes that a text in base 64 stands for, in a buffer of their own. It throws if the text is something else. */
export function bytesOfBase64(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(atob(text), character => character.charCodeAt(0));
}

/** Bytes as a text in base 64. */
export function base64Of(bytes: Uint8Array): string {
  let text = '';
  // Not all at once: a function takes only so many arguments.
  for (let i = 0; i < bytes.length; i += 0x8000) {
    text += String.fromCharCode(...bytes.subarray(i, i + 0x8000));
  }
  return btoa(text);
}
