declare module 'virtual:emoji' {
  const emoji: {
    names: string[];
    /** Drawings to learn from, and others, as bodies of SVGs of 32 × 32 units. */
    train: {label: number; body: string}[];
    test: {label: number; body: string}[];
  };
  export default emoji;
}
