/** The bytes that a text in base 64 stands for, in a buffer of their own. It throws if the text is something else. */
export function bytesOfBase64(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(atob(text), character => character.charCodeAt(0));
}
