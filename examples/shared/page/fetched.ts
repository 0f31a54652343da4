/** Fetches a file. @throws Error for the visitor if it is not there. */
export async function fetched(url: string): Promise<Response> {
  const response = await fetch(url);
  if (!response.ok) {
    throw new Error(`The model could not be loaded: ${response.url} answers ${response.status}.`);
  }
  return response;
}
