/** What a device says of itself. What it does not say is not there. */
export interface Device {
  browser: string;
  cores: number;
  /** Gigabytes, rounded by the browser. */
  memory?: number;
  /** The renderer of WebGL. */
  webgl?: string;
  /** The adapter of WebGPU. */
  webgpu?: string;
  /** Whether wasm may have threads here. */
  isolated: boolean;
}

interface Adapter {
  info?: {vendor?: string; architecture?: string; device?: string; description?: string};
}

/** What this device says of itself. */
export async function describeDevice(): Promise<Device> {
  const {userAgent, hardwareConcurrency} = navigator;
  const {deviceMemory, gpu} = navigator as {
    deviceMemory?: number;
    gpu?: {requestAdapter(): Promise<Adapter | null>};
  };
  const adapter = await gpu?.requestAdapter().catch(() => null);
  const {vendor, architecture, device, description} = adapter?.info ?? {};
  const words = [vendor, architecture, device, description].filter(word => word);
  const renderer = rendererOf();
  return {
    browser: userAgent,
    cores: hardwareConcurrency,
    ...(deviceMemory !== undefined && {memory: deviceMemory}),
    ...(renderer !== undefined && {webgl: renderer}),
    ...(adapter && {webgpu: words.length > 0 ? words.join(', ') : 'without a name'}),
    isolated: window.crossOriginIsolated,
  };
}

function rendererOf(): string | undefined {
  const context = document.createElement('canvas').getContext('webgl2');
  if (context === null) {
    return undefined;
  }
  const extension = context.getExtension('WEBGL_debug_renderer_info');
  const name = context.getParameter(extension?.UNMASKED_RENDERER_WEBGL ?? context.RENDERER) as string;
  context.getExtension('WEBGL_lose_context')?.loseContext();
  return name;
}
