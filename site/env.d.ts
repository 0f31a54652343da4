/** Where Vite puts a file. */
declare module '*?url' {
  const url: string;
  export default url;
}

declare module '*.jpg' {
  const url: string;
  export default url;
}

declare module '*.css';
