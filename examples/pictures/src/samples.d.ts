declare module 'virtual:samples' {
  const samples: {kind: string; body: string}[];
  export default samples;
}
