const watching = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (!isIntersecting) continue;
    watching.unobserve(target);
    load(target);
  }
}, { rootMargin: "100px" });

function load(target) {
  if (target.dataset.poster) target.poster = target.dataset.poster;
  if (target.matches("[data-media]")) return;
  const { image, video } = target.dataset;
  const media = document.createElement(image ? "img" : "video");
  if (image) {
    Object.assign(media, { alt: "", loading: "lazy", referrerPolicy: "no-referrer", src: image });
  } else {
    Object.assign(media, { preload: "metadata", muted: true, playsInline: true, src: video });
    media.setAttribute("aria-hidden", "true");
  }
  media.addEventListener("error", () => { media.remove(); showDead(target); }, { once: true });
  target.querySelector(".asset").prepend(media);
}

function showDead(near) {
  const note = near.querySelector(".dead") ?? near.parentElement.querySelector(".dead");
  note.hidden = false;
}

/** Previews load nothing until they are looked at; a file that is gone is said to be. */
export function watchMedia(root) {
  for (const preview of root.querySelectorAll("[data-image], [data-video], video[data-media]")) {
    watching.observe(preview);
  }
  for (const media of root.querySelectorAll("[data-media]")) {
    const dead = () => showDead(media);
    media.addEventListener("error", dead, { once: true });
    if (media.error || (media.complete && media.naturalWidth === 0 && media.src)) dead();
  }
}

/** Forget previews that are about to be removed. */
export function unwatchMedia(root) {
  root.querySelectorAll("[data-image], [data-video], [data-media]").forEach((each) => watching.unobserve(each));
}
