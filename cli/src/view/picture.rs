//! A picture: SVG first, PNG from it, with one font.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use resvg::tiny_skia::{FilterQuality, IntSize, Pixmap, PixmapPaint, Transform};
use resvg::usvg::{self, Tree, fontdb};
use std::sync::{Arc, OnceLock};

const FONT: &[u8] = include_bytes!("../../assets/fonts/DejaVuSans.ttf");
/// The font of every text, and what a browser takes where it is not installed.
pub const FONT_FAMILY: &str = "DejaVu Sans, Verdana, sans-serif";
/// Pixels of a PNG for each of the SVG's.
const PNG_SCALE: f32 = 1.5;

/// Coloured cells that are drawn below the lines.
pub struct Raster {
    /// Left, top, width and height, in the SVG's pixels.
    pub place: [f32; 4],
    /// Cells across and down.
    pub size: [u32; 2],
    /// Red, green and blue, row by row.
    pub rgb: Vec<[u8; 3]>,
}

pub struct Picture {
    /// Of its file, without an extension.
    pub name: String,
    pub title: String,
    pub size: [u32; 2],
    /// What stands between `<svg>` and `</svg>`.
    pub body: String,
    pub rasters: Vec<Raster>,
}

impl Raster {
    fn pixmap(&self) -> Pixmap {
        let size = IntSize::from_wh(self.size[0], self.size[1]).expect("a raster has cells");
        let rgba = self.rgb.iter().flat_map(|[r, g, b]| [*r, *g, *b, 255]).collect();
        Pixmap::from_vec(rgba, size).expect("a raster has as many cells as its size says")
    }

    fn svg(&self) -> String {
        let [x, y, width, height] = self.place;
        let png = self.pixmap().encode_png().expect("a PNG in memory");
        format!(
            r#"<image x="{x}" y="{y}" width="{width}" height="{height}" preserveAspectRatio="none" style="image-rendering:pixelated" href="data:image/png;base64,{}"/>"#,
            BASE64.encode(png)
        )
    }
}

impl Picture {
    /// A document of its own, with everything in it.
    pub fn svg(&self) -> String {
        let rasters: String = self.rasters.iter().map(Raster::svg).collect();
        self.document(&format!(r##"<rect width="100%" height="100%" fill="#ffffff"/>{rasters}"##))
    }

    fn document(&self, below: &str) -> String {
        let [width, height] = self.size;
        format!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" font-family="{FONT_FAMILY}">{below}{}</svg>"#,
            self.body
        )
    }

    /// Width, height and bytes of the PNG.
    pub fn png(&self) -> ([u32; 2], Vec<u8>) {
        let [width, height] = self.size.map(|len| (len as f32 * PNG_SCALE) as u32);
        let mut pixmap = Pixmap::new(width, height).expect("a picture has a size");
        pixmap.fill(resvg::tiny_skia::Color::WHITE);
        // The SVG renderer is built without image decoders: cells are put in as they are.
        for raster in &self.rasters {
            let [x, y, w, h] = raster.place.map(|len| len * PNG_SCALE);
            let [columns, rows] = raster.size.map(|len| len as f32);
            let onto = Transform::from_row(w / columns, 0.0, 0.0, h / rows, x, y);
            let paint = PixmapPaint { quality: FilterQuality::Nearest, ..PixmapPaint::default() };
            pixmap.draw_pixmap(0, 0, raster.pixmap().as_ref(), &paint, onto, None);
        }
        let tree = Tree::from_str(&self.document(""), options()).expect("the SVG is our own");
        resvg::render(&tree, Transform::from_scale(PNG_SCALE, PNG_SCALE), &mut pixmap.as_mut());
        ([width, height], pixmap.encode_png().expect("a PNG in memory"))
    }
}

fn options() -> &'static usvg::Options<'static> {
    static OPTIONS: OnceLock<usvg::Options<'static>> = OnceLock::new();
    OPTIONS.get_or_init(|| {
        let mut fonts = fontdb::Database::new();
        fonts.load_font_data(FONT.to_vec());
        fonts.set_sans_serif_family("DejaVu Sans");
        usvg::Options { fontdb: Arc::new(fonts), font_family: "DejaVu Sans".into(), ..usvg::Options::default() }
    })
}
