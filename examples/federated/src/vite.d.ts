/// <reference types="vite/client" />

/** The digits of all clients and those held out, as `vite.config.ts` writes them. */
declare module 'virtual:digits' {
  /** Pixels from 0 to 255 in base 64, 28 × 28 a digit; the ten kinds in turn. */
  const digits: {ofClients: string; heldOut: string};
  export default digits;
}
